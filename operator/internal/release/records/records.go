// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package records keeps the revisions of a release as Helm does, so that `helm list`, `history` and `get` show them. Read
// attempt.go first.
//
// What may live here: Helm's release records, which are Secrets (helm.sh/helm/v3/pkg/storage/driver/secrets.go). What may not:
// the objects of a release, JupyterServers.
package records

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"helm.sh/helm/v3/pkg/chart"
	helmrelease "helm.sh/helm/v3/pkg/release"
	helmtime "helm.sh/helm/v3/pkg/time"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/objects"
)

// SecretType is the type of the Secrets that hold Helm's records.
const SecretType corev1.SecretType = "helm.sh/release.v1"

const (
	// revisionLabel is on the records that the operator writes. Helm copies labels into the record that it writes when it rolls
	// back or upgrades (helm.sh/helm/v3/pkg/action), so a value other than the record's own revision means that Helm wrote it.
	// It does not detect forgery; Digest does.
	revisionLabel = "jupyterserver.dev/revision"
	fieldOwner    = client.FieldOwner(objects.FieldManager)

	keep            = 5               // records of a release, beside that of the good revision
	helmPatience    = 5 * time.Minute // how long a record that shows Helm at work is believed
	largestRevision = math.MaxInt32   // leaves room for more, so that a record with the largest number there is stops nothing
	largestContent  = 8 << 20         // bytes, unpacked: what a Secret holds, 1 MiB, could fill the operator's memory
	mostTaken       = 5               // numbers of revisions that Secrets of another type may have taken
)

// ConflictError means that a Helm release of the name belongs to another owner. It is never touched.
type ConflictError struct{ Name string }

func (e *ConflictError) Error() string {
	return fmt.Sprintf("a Helm release %s already exists in the namespace and was not created for this server", e.Name)
}

// Record is one revision of a release.
type Record struct {
	Revision int
	Status   helmrelease.Status            // that of the labels, since the content of an immutable record cannot follow
	Content  *Content                      // nil if it cannot be decoded, or was only listed
	Secret   *metav1.PartialObjectMetadata // as it was last read or written
	fixed    bool                          // only its labels can change: it is immutable, or cannot be decoded
	adopted  bool                          // it had no owner, so Helm wrote it
}

// Content is what a record holds, as Helm encodes it (helm.sh/helm/v3/pkg/release, Release). What the operator does not look at stays
// text: anyone who can write Secrets could have it decode into a hundred times its size.
type Content struct {
	Name      string          `json:"name,omitempty"`
	Info      *Info           `json:"info,omitempty"`
	Chart     json.RawMessage `json:"chart,omitempty"`
	Config    json.RawMessage `json:"config,omitempty"` // the values
	Manifest  string          `json:"manifest,omitempty"`
	Hooks     json.RawMessage `json:"hooks,omitempty"`
	Version   int             `json:"version,omitempty"`
	Namespace string          `json:"namespace,omitempty"`
}

// Info is when and how a revision was released (helm.sh/helm/v3/pkg/release, Info).
type Info struct {
	FirstDeployed helmtime.Time      `json:"first_deployed"`
	LastDeployed  helmtime.Time      `json:"last_deployed"`
	Deleted       helmtime.Time      `json:"deleted"`
	Description   string             `json:"description,omitempty"`
	Status        helmrelease.Status `json:"status,omitempty"`
	Notes         string             `json:"notes,omitempty"`
}

// newRecord returns a record without content. Helm finds it by its labels.
func newRecord(ref objects.Ref, revision int, meta metav1.ObjectMeta) *Record {
	secret := &metav1.PartialObjectMetadata{ObjectMeta: meta}
	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	secret.Namespace, secret.Name = ref.Namespace, nameOf(ref.Name, revision)
	for label, value := range map[string]string{"owner": "helm", "name": ref.Name, "version": strconv.Itoa(revision)} {
		metav1.SetMetaDataLabel(&secret.ObjectMeta, label, value)
	}
	return &Record{Revision: revision, Status: helmrelease.Status(secret.Labels["status"]), Secret: secret}
}

// nameOf returns the name of a record's Secret (makeKey of helm.sh/helm/v3/pkg/storage/storage.go).
func nameOf(release string, revision int) string {
	return fmt.Sprintf("sh.helm.release.v1.%s.v%d", release, revision)
}

func (r *Record) isDeployed() bool { return r.Status == helmrelease.StatusDeployed }

// writtenAt returns when a record was last written, by the clock of the API server.
func (r *Record) writtenAt() time.Time {
	at := r.Secret.CreationTimestamp
	for _, entry := range r.Secret.ManagedFields {
		if at.Before(entry.Time) {
			at = *entry.Time
		}
	}
	return at.Time
}

// Digest is over what a record says was released. It is empty if that cannot be told.
func (r *Record) Digest() string {
	if r.Content == nil {
		return ""
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\n%s", cmp.Or(string(r.Content.Config), "null"), r.Content.Manifest)
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// IsNewest reports whether a revision is the newest of all, the only deployed one, and as the operator wrote it.
func IsNewest(all []*Record, revision int) bool {
	first := slices.IndexFunc(all, (*Record).isDeployed)
	return first >= 0 && first == len(all)-1 && all[first].Revision == revision &&
		all[first].Secret.Labels[revisionLabel] == strconv.Itoa(revision)
}

// HelmIsAtWork reports whether a record shows that a Helm command has not finished. Helm writes records without an owner; a
// pending one with an owner was left by an operator that was killed.
func HelmIsAtWork(ref objects.Ref, all []*Record, revision int, now time.Time) bool {
	return slices.ContainsFunc(all, func(record *Record) bool {
		return record.Revision >= revision && ref.Ownership(record.Secret.OwnerReferences) != objects.Own &&
			(strings.HasPrefix(record.Status.String(), "pending-") || record.Status == helmrelease.StatusUninstalling) &&
			now.Sub(record.writtenAt()) < helmPatience
	})
}

// Store reads and writes records. It is safe for concurrent use on different releases.
type Store struct {
	writer      client.Writer
	live        client.Reader
	chart       *chart.Metadata
	clock       clock.PassiveClock
	compressors sync.Pool
}

// NewStore returns a Store. It reads from the API server, since informers hold no records; chart is what records name as their
// chart.
func NewStore(writer client.Writer, live client.Reader, metadata *chart.Metadata, clk clock.PassiveClock) *Store {
	return &Store{writer: writer, live: live, chart: metadata, clock: clk}
}

// Get returns a record and adopts an orphan. It is nil if a Secret of another type has its name. Its errors include NotFound,
// *ConflictError and *objects.TerminatingError.
func (s *Store) Get(ctx context.Context, ref objects.Ref, revision int) (*Record, error) {
	secret, key := &corev1.Secret{}, client.ObjectKey{Namespace: ref.Namespace, Name: nameOf(ref.Name, revision)}
	if err := s.live.Get(ctx, key, secret); err != nil {
		return nil, fmt.Errorf("reading the release record %s: %w", key.Name, err)
	}
	if secret.Type != SecretType {
		return nil, nil //nolint:nilnil // a Secret of another type has the name: neither a record nor an error
	}
	record := newRecord(ref, revision, secret.ObjectMeta)
	if err := s.claim(ctx, ref, record); err != nil {
		return nil, err
	}
	if record.Content = decode(secret.Data["release"], largestContent); record.Content != nil {
		record.Content.Name, record.Content.Version = ref.Name, revision // whatever it claims
		record.Status = cmp.Or(record.Status, record.Content.Info.Status)
	}
	record.fixed = record.Content == nil || ptr.Deref(secret.Immutable, false)
	return record, nil
}

// List returns all records of the name by revision, without their content, whoever wrote them, in one request. A Secret that
// only has their labels is not among them.
func (s *Store) List(ctx context.Context, ref objects.Ref) ([]*Record, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	err := s.live.List(ctx, list, client.InNamespace(ref.Namespace), client.MatchingLabels{"owner": "helm", "name": ref.Name},
		client.MatchingFields{"type": string(SecretType)})
	if err != nil {
		return nil, fmt.Errorf("listing the release records: %w", err)
	}
	var found []*Record
	for _, secret := range list.Items {
		revision, err := strconv.Atoi(secret.Labels["version"]) // helm.sh/helm/v3/pkg/storage/driver/secrets.go
		if err == nil && revision > 0 && revision <= largestRevision && secret.Name == nameOf(ref.Name, revision) {
			found = append(found, newRecord(ref, revision, secret.ObjectMeta))
		}
	}
	slices.SortFunc(found, func(a, b *Record) int { return cmp.Compare(a.Revision, b.Revision) })
	return found, nil
}

// claim rejects a record of another owner and adopts an orphan. An orphan belongs to the release if the server was released
// before, or if Helm copied it from a record of the operator's (`helm rollback`).
func (s *Store) claim(ctx context.Context, ref objects.Ref, record *Record) error {
	owner := ref.Ownership(record.Secret.OwnerReferences)
	switch {
	case owner == objects.Own:
		return nil
	case owner == objects.Predecessors:
		return &objects.TerminatingError{Object: "release record " + record.Secret.Name}
	case owner == objects.Foreign, !ref.Installed && record.Secret.Labels[revisionLabel] == "":
		return &ConflictError{Name: ref.Name}
	}
	orphan := record.Secret.DeepCopy()
	record.Secret.OwnerReferences = []metav1.OwnerReference{ref.Owner()}
	if err := s.writer.Patch(ctx, record.Secret, client.MergeFrom(orphan), fieldOwner); err != nil {
		return fmt.Errorf("adopting the release record %s: %w", record.Secret.Name, err)
	}
	record.adopted = true
	return nil
}

// write creates a record, or replaces it as it was last seen: a second leader may write the same ones.
func (s *Store) write(ctx context.Context, ref objects.Ref, record *Record) error {
	record.Content.Info.Status = record.Status
	encoded, err := s.encode(record.Content)
	if err != nil {
		return err
	}
	seen := &record.Secret.ObjectMeta
	secret := &corev1.Secret{Type: SecretType, Data: map[string][]byte{"release": encoded}, ObjectMeta: metav1.ObjectMeta{
		Namespace: seen.Namespace, Name: seen.Name, ResourceVersion: seen.ResourceVersion,
		Labels: maps.Clone(seen.Labels), OwnerReferences: []metav1.OwnerReference{ref.Owner()},
	}}
	secret.Labels["status"] = record.Status.String()
	now := strconv.FormatInt(s.clock.Now().Unix(), 10)
	if seen.ResourceVersion == "" {
		secret.Labels["createdAt"] = now
		err = s.writer.Create(ctx, secret, fieldOwner)
	} else {
		secret.Labels["modifiedAt"] = now
		err = s.writer.Update(ctx, secret, fieldOwner)
	}
	if err != nil {
		return fmt.Errorf("writing the release record: %w", err)
	}
	*seen, record.fixed = secret.ObjectMeta, ptr.Deref(secret.Immutable, false)
	return nil
}

// mark sets the status of a record, in its labels alone if the content is fixed.
func (s *Store) mark(ctx context.Context, ref objects.Ref, record *Record, status helmrelease.Status) error {
	record.Status = status
	if !record.fixed {
		return s.write(ctx, ref, record)
	}
	before := record.Secret.DeepCopy()
	record.Secret.Labels["status"] = status.String()
	if err := s.writer.Patch(ctx, record.Secret, client.MergeFrom(before), fieldOwner); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("marking a release record: %w", err)
	}
	return nil
}

// encode encodes a record as Helm keeps it in a Secret: JSON, compressed, in base64
// (helm.sh/helm/v3/pkg/storage/driver/util.go). Helm's own driver creates a compressor for every record that it writes, which
// costs more memory than the rest of an install, and panics on some damaged records.
func (s *Store) encode(content *Content) ([]byte, error) {
	compressor, ok := s.compressors.Get().(*gzip.Writer)
	if !ok {
		compressor = gzip.NewWriter(nil)
	}
	defer s.compressors.Put(compressor)
	var out bytes.Buffer
	encoder := base64.NewEncoder(base64.StdEncoding, &out)
	compressor.Reset(encoder)
	if err := errors.Join(json.NewEncoder(compressor).Encode(content), compressor.Close(), encoder.Close()); err != nil {
		return nil, fmt.Errorf("encoding the release record: %w", err)
	}
	return out.Bytes(), nil
}

// decode returns nil for a damaged record, or one that decodes to more bytes than the limit.
func decode(encoded []byte, limit int64) *Content {
	raw, err := base64.StdEncoding.DecodeString(string(encoded))
	if err != nil {
		return nil
	}
	if compressed, err := gzip.NewReader(bytes.NewReader(raw)); err == nil { // early versions of Helm did not compress them
		raw, err = io.ReadAll(io.LimitReader(compressed, limit+1))
		if err != nil || int64(len(raw)) > limit {
			return nil
		}
	}
	content := &Content{}
	if err := json.Unmarshal(raw, content); err != nil || content.Info == nil {
		return nil
	}
	return content
}
