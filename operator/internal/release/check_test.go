// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"testing"
	"time"
)

// A client that keeps changing objects must not keep the records from being checked.
func TestCheckIsNotPostponed(t *testing.T) {
	var check recordCheck
	began := time.Now()
	now := began
	for !check.isDueAt(now) {
		if now.Sub(began) > checkAfter {
			t.Fatal("the records are not checked in time")
		}
		check.want(now)
		now = now.Add(checkAfter / 4)
	}
}
