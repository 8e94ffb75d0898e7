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

func TestCheckWhileHelmIsAtWork(t *testing.T) {
	var check recordCheck
	now := time.Now()
	check.want(now)
	for waited := time.Duration(0); !check.isOver(now); waited += checkAfter {
		if waited > helmPatience {
			t.Fatal("Helm is believed to be at work for too long")
		}
		check.again(now)
		if left := check.left(now); left != checkAfter {
			t.Fatalf("the next check is after %s", left)
		}
		now = now.Add(checkAfter)
	}
}
