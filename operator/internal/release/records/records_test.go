// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package records

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	helmrelease "helm.sh/helm/v3/pkg/release"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/objects"
)

var ref = objects.Ref{Namespace: "lab", Name: "alice", UID: "1"}

var now = time.Now()

// written returns a record that the operator wrote.
func written(revision int, status helmrelease.Status) *Record {
	return record(revision, status, metav1.ObjectMeta{
		Labels: map[string]string{revisionLabel: strconv.Itoa(revision)}, OwnerReferences: []metav1.OwnerReference{ref.Owner()},
	})
}

// byHelm returns a record that Helm wrote when it went back to revision 1.
func byHelm(revision int, status helmrelease.Status) *Record {
	return record(revision, status, metav1.ObjectMeta{Labels: map[string]string{revisionLabel: "1"}})
}

func record(revision int, status helmrelease.Status, meta metav1.ObjectMeta) *Record {
	meta.CreationTimestamp = metav1.NewTime(now)
	out := newRecord(ref, revision, meta)
	out.Status = status
	return out
}

func TestHelmIsAtWork(t *testing.T) {
	ago := func(record *Record, age time.Duration) *Record {
		record.Secret.CreationTimestamp = metav1.NewTime(now.Add(-age))
		return record
	}
	updated := func(record *Record, age time.Duration) *Record {
		record.Secret.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "operator"}, {Manager: "helm", Time: new(metav1.NewTime(now.Add(-age)))}}
		return record
	}
	tests := []struct {
		reason string
		record *Record
		want   bool
	}{
		{"helm rollback writes the next record first", byHelm(3, helmrelease.StatusPendingRollback), true},
		{"helm uninstall marks the newest record, and drops its owner", byHelm(2, helmrelease.StatusUninstalling), true},
		{"an operator that was killed left its record", written(3, helmrelease.StatusPendingUpgrade), false},
		{"a deployed record is finished", byHelm(3, helmrelease.StatusDeployed), false},
		{"an older record is history", byHelm(1, helmrelease.StatusPendingInstall), false},
		{"Helm may take its time", ago(byHelm(3, helmrelease.StatusPendingRollback), helmPatience-time.Second), true},
		{"Helm is not believed to be at work for too long", ago(byHelm(3, helmrelease.StatusPendingRollback), helmPatience), false},
		{"an old record that helm uninstall has just marked", updated(ago(byHelm(2, helmrelease.StatusUninstalling), time.Hour), time.Second), true},
		{"an old record that it marked long ago", updated(ago(byHelm(2, helmrelease.StatusUninstalling), time.Hour), helmPatience), false},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			if got := HelmIsAtWork(ref, []*Record{test.record}, 2, now); got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
}

func TestIsNewest(t *testing.T) {
	const deployed, superseded = helmrelease.StatusDeployed, helmrelease.StatusSuperseded
	tests := []struct {
		reason  string
		records []*Record
		want    bool
	}{
		{"the newest record is the release", []*Record{written(1, superseded), written(2, deployed)}, true},
		{"there is no record", nil, false},
		{"its record is gone", []*Record{written(1, superseded)}, false},
		{"there is a newer one", []*Record{written(2, deployed), byHelm(3, superseded)}, false},
		{"an older one is deployed, too", []*Record{written(1, deployed), written(2, deployed)}, false},
		{"it is not deployed", []*Record{written(2, superseded)}, false},
		{"Helm wrote the record of its number", []*Record{byHelm(2, deployed)}, false},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			if got := IsNewest(test.records, 2); got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
}

// What is obsolete follows from the records that are there, so a crash between two deletions leaves nothing behind.
func TestObsolete(t *testing.T) {
	history := func(revisions ...int) (records []*Record) {
		for _, revision := range revisions {
			records = append(records, written(revision, helmrelease.StatusSuperseded))
		}
		return records
	}
	foreign := written(2, helmrelease.StatusSuperseded)
	foreign.Secret.OwnerReferences[0].UID, foreign.Secret.OwnerReferences[0].Name = "2", "bob"
	tests := []struct {
		reason       string
		records      []*Record
		newest, good int
		want         []int
	}{
		{"five are kept", history(1, 2, 3, 4, 5), 5, 0, nil},
		{"the oldest goes", history(1, 2, 3, 4, 5, 6), 6, 6, []int{1}},
		{"the good one stays", history(1, 2, 3, 4, 5, 6, 7), 7, 1, []int{2}},
		{"what a crash left goes, too", history(1, 2, 5, 6, 7, 8, 9), 9, 8, []int{1, 2}},
		{"a record of Helm goes", append(history(3, 4, 5, 6, 7), byHelm(2, helmrelease.StatusSuperseded)), 7, 7, []int{2}},
		{"a record of another owner stays", append(history(3, 4, 5, 6, 7), foreign), 7, 7, nil},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			var got []int
			for _, record := range test.records {
				if isObsolete(ref, record, test.newest, test.good) {
					got = append(got, record.Revision)
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// That Helm reads them is shown where Helm runs (operator/internal/controller, test/e2e).
func TestCodec(t *testing.T) {
	var s Store
	for _, name := range []string{"alice", "bob"} { // the second time with the compressor of the first
		helms, err := json.Marshal(helmrelease.Mock(&helmrelease.MockReleaseOptions{Name: name}))
		if err != nil {
			t.Fatal(err)
		}
		encoded, err := s.encode(decode([]byte(base64.StdEncoding.EncodeToString(helms)), largestContent))
		if err != nil {
			t.Fatal(err)
		}
		got := decode(encoded, largestContent)
		again, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var want, have map[string]any
		if err := errors.Join(json.Unmarshal(helms, &want), json.Unmarshal(again, &have)); err != nil || !reflect.DeepEqual(want, have) {
			t.Errorf("%s: %v: nothing of Helm's record may be lost:\nhave %v\nwant %v", name, err, have, want)
		}
	}
}

// A small Secret must not decode into more than fits into the operator's memory.
func TestDecodeTakesLittleMemory(t *testing.T) {
	for _, field := range []string{"hooks", "config", "chart", "manifest"} {
		text := `{"info": {}, "` + field + `": ` + strings.Replace(map[string]string{"hooks": "[%]", "config": `{"a": [%]}`, "chart": `{"files": [%]}`, "manifest": `"%"`}[field],
			"%", strings.TrimSuffix(strings.Repeat(map[bool]string{true: "x", false: "{},"}[field == "manifest"], 2<<20), ","), 1) + `}`
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		_, _ = w.Write([]byte(text))
		_ = w.Close()
		packed := []byte(base64.StdEncoding.EncodeToString(out.Bytes()))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		content := decode(packed, largestContent)
		runtime.ReadMemStats(&after)
		if allocated := after.TotalAlloc - before.TotalAlloc; content == nil || allocated > 8*largestContent {
			t.Errorf("%s: a Secret of %d bytes allocates %d MiB (decoded: %t)", field, len(packed), allocated>>20, content != nil)
		}
	}
}

func TestDecodeDamagedRecords(t *testing.T) {
	zipped := func(text string) string {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		_, _ = w.Write([]byte(text))
		_ = w.Close()
		return base64.StdEncoding.EncodeToString(out.Bytes())
	}
	const record = `{"name": "alice", "info": {}}`
	padded := func(size int) string { return record + strings.Repeat(" ", size-len(record)) }
	tests := []struct {
		reason string
		packed string
		want   bool
	}{
		{"a record as large as the limit", zipped(padded(1000)), true},
		{"one byte more", zipped(padded(1001)), false},
		{"what is not compressed is no larger than the Secret", base64.StdEncoding.EncodeToString([]byte(record)), true},
		{"what breaks off is damaged", zipped(padded(1000))[:24], false},
		{"no base64", "%", false},
		{"no JSON", zipped("alice"), false},
		{"nothing to read the status from", zipped(`{"name": "alice"}`), false},
		{"nothing at all", "", false},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			if got := decode([]byte(test.packed), 1000) != nil; got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
}
