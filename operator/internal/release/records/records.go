// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package records keeps the revisions of a release as Helm does, so that `helm list`, `history` and `get` show them. Read
// Attempt first.
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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/objects"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
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

// Attempt is a new revision on its way: Prepare reads, Begin writes its record as pending, and Finish or Fail marks it. A record
// that a crash left pending is used again by the next attempt, so its revision counts once.
type Attempt struct {
	Record  *Record // the new one; nil before Begin
	MetHelm bool    // Helm wrote one of the records that were read

	ref      objects.Ref
	revision int     // the new one
	previous *Record // what it supersedes; nil if there is none
	good     int     // the revision to roll back to, whose record is kept
}

// Prepare finds the revision to write and the one that it supersedes. Current is the newest revision, nil before the first
// install. With pastAll the new revision is newer than every record, whoever wrote it.
func (s *Store) Prepare(ctx context.Context, ref objects.Ref, current *v1alpha1.ReleaseStatus, pastAll bool) (*Attempt, error) {
	a := &Attempt{ref: ref, revision: 1}
	if current != nil {
		a.good, a.revision = current.GoodRevision, current.Revision+1
		var err error
		if a.previous, err = s.Get(ctx, ref, current.Revision); client.IgnoreNotFound(err) != nil {
			return nil, err
		}
		a.MetHelm = a.previous != nil && a.previous.adopted
	}
	if a.previous == nil || pastAll {
		return a, s.skipAll(ctx, a)
	}
	return a, nil
}

// skipAll looks through all records, adopts those of the release, and marks those as superseded that a crash or Helm left
// deployed. The new revision becomes the newest, or one that Begin can use again.
func (s *Store) skipAll(ctx context.Context, a *Attempt) error {
	all, err := s.List(ctx, a.ref)
	if err != nil {
		return err
	}
	for _, record := range all {
		if err := s.claim(ctx, a.ref, record); err != nil {
			return err
		}
		a.MetHelm = a.MetHelm || record.adopted
		a.revision = max(a.revision, record.Revision)
	}
	for _, listed := range all[:max(0, len(all)-1)] {
		if !listed.isDeployed() || a.previous != nil && a.previous.Revision == listed.Revision { // Finish supersedes the previous one
			continue
		}
		record, err := s.Get(ctx, a.ref, listed.Revision)
		if err == nil {
			err = s.supersede(ctx, a.ref, record)
		}
		if client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	return nil
}

// supersede marks a record as superseded if it is deployed. It may be nil.
func (s *Store) supersede(ctx context.Context, ref objects.Ref, record *Record) error {
	if record == nil || !record.isDeployed() {
		return nil
	}
	return s.mark(ctx, ref, record, helmrelease.StatusSuperseded)
}

// Begin writes the record of the new revision as pending. A record of its number that was never deployed, or has the same content,
// is used again; else, or if a Secret of another type has its name, the next number is tried.
func (s *Store) Begin(ctx context.Context, a *Attempt, content *render.Rendered) error {
	for taken := 0; ; a.revision++ {
		var err error
		if a.Record, err = s.pending(a, content); err != nil {
			return err
		}
		err = s.write(ctx, a.ref, a.Record)
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
		there, err := s.Get(ctx, a.ref, a.revision)
		if err != nil {
			return err
		}
		if there == nil {
			if taken++; taken > mostTaken {
				return &ConflictError{Name: a.ref.Name}
			}
			continue
		}
		a.MetHelm = a.MetHelm || there.adopted
		a.Record.Secret.ResourceVersion, a.Record.fixed = there.Secret.ResourceVersion, there.fixed
		switch {
		case there.isDeployed() && there.Digest() == a.Record.Digest():
			return nil // the operator ended between this record and the status
		case there.isDeployed(), there.Status == helmrelease.StatusSuperseded:
			err = s.supersede(ctx, a.ref, a.previous) // the operator may have ended before that
			a.previous = there
		case there.fixed:
			err = s.mark(ctx, a.ref, there, helmrelease.StatusFailed)
		default:
			return s.write(ctx, a.ref, a.Record)
		}
		if err != nil {
			return err
		}
	}
}

// pending returns a slim record: it holds the values and the manifest but not the chart's templates, which only a `helm upgrade`
// without a chart would read.
func (s *Store) pending(a *Attempt, content *render.Rendered) (*Record, error) {
	record := newRecord(a.ref, a.revision, metav1.ObjectMeta{Labels: map[string]string{revisionLabel: strconv.Itoa(a.revision)}})
	values, err := json.Marshal(content.Values)
	if err != nil {
		return nil, fmt.Errorf("encoding the values of the release record: %w", err)
	}
	about, err := json.Marshal(chart.Chart{Metadata: s.chart})
	if err != nil {
		return nil, fmt.Errorf("encoding the chart of the release record: %w", err)
	}
	now := helmtime.Time{Time: s.clock.Now()}
	record.Status = helmrelease.StatusPendingInstall
	record.Content = &Content{
		Name: a.ref.Name, Namespace: a.ref.Namespace, Version: a.revision, Chart: about, Config: values, Manifest: content.Manifest,
		Info: &Info{
			FirstDeployed: now, LastDeployed: now, Description: "Being applied",
			Notes: fmt.Sprintf("This release belongs to the JupyterServer %s: change that instead of the release.\n", a.ref.Name),
		},
	}
	if a.previous != nil && a.previous.Content != nil {
		record.Status, record.Content.Info.FirstDeployed = helmrelease.StatusPendingUpgrade, a.previous.Content.Info.FirstDeployed
	}
	return record, nil
}

// Finish marks the record as deployed and the previous one as superseded, and prunes old ones. The description shows in
// `helm history`.
func (s *Store) Finish(ctx context.Context, a *Attempt, description string) error {
	a.Record.Content.Info.Description = description
	if err := s.mark(ctx, a.ref, a.Record, helmrelease.StatusDeployed); err != nil {
		return err
	}
	if err := s.supersede(ctx, a.ref, a.previous); err != nil {
		return err
	}
	return s.Prune(ctx, a.ref, a.revision, a.good)
}

// Fail marks the record as failed, so that `helm history` shows it. It is best effort: the attempt fails with its cause anyway,
// and a record left pending is used again.
func (s *Store) Fail(ctx context.Context, a *Attempt, cause error) {
	a.Record.Content.Info.Description = cause.Error()
	_ = s.mark(ctx, a.ref, a.Record, helmrelease.StatusFailed)
}

// Prune deletes the records that are obsolete with a newest and a good revision.
func (s *Store) Prune(ctx context.Context, ref objects.Ref, newest, good int) error {
	if newest <= keep {
		return nil
	}
	all, err := s.List(ctx, ref)
	if err != nil {
		return err
	}
	for _, record := range all {
		if !isObsolete(ref, record, newest, good) {
			continue
		}
		if err := s.writer.Delete(ctx, record.Secret, client.Preconditions{UID: &record.Secret.UID}); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("deleting an old release record: %w", err)
		}
	}
	return nil
}

// isObsolete reports whether a record is not kept: the newest ones are, the good one, and those of other owners.
func isObsolete(ref objects.Ref, record *Record, newest, good int) bool {
	owner := ref.Ownership(record.Secret.OwnerReferences)
	return record.Revision <= newest-keep && record.Revision != good && (owner == objects.Own || owner == objects.Orphan)
}

// Get returns a record and adopts an orphan. It is nil if a Secret of another type has its name. Its errors include NotFound,
// *ConflictError and *objects.TerminatingError.
func (s *Store) Get(ctx context.Context, ref objects.Ref, revision int) (*Record, error) {
	secret, key := &corev1.Secret{}, client.ObjectKey{Namespace: ref.Namespace, Name: nameOf(ref.Name, revision)}
	if err := s.live.Get(ctx, key, secret); err != nil {
		return nil, fmt.Errorf("reading the release record %s: %w", key.Name, err)
	}
	if secret.Type != SecretType {
		return nil, nil //nolint:nilnil // the contract
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
