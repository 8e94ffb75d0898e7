// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package records

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"helm.sh/helm/v3/pkg/chart"
	helmrelease "helm.sh/helm/v3/pkg/release"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/objects"
)

// SecretType is the type of the Secrets that hold Helm's records.
const SecretType corev1.SecretType = "helm.sh/release.v1"

// revisionLabel is on the records that the operator writes. Helm copies labels into the record that it writes when it rolls back
// or upgrades (helm.sh/helm/v3/pkg/action), so a value other than the record's own revision means that Helm wrote it. It does
// not detect forgery; Digest does.
const revisionLabel = "jupyterserver.dev/revision"

var (
	// ErrNotFound means that a revision has no record.
	ErrNotFound = errors.New("the release record does not exist")
	// ErrDamaged means that a record cannot be decoded.
	ErrDamaged = errors.New("the release record cannot be decoded")
	// errNotARecord means that a Secret has the name of a release record but another type.
	errNotARecord = fmt.Errorf("a Secret of another type has its name: %w", ErrNotFound)
)

// ConflictError means that a Helm release of the name belongs to another owner. It is never touched.
type ConflictError struct{ Name string }

func (e *ConflictError) Error() string {
	return fmt.Sprintf("a Helm release %s already exists in the namespace and was not created for this server", e.Name)
}

// Record is one revision of a release.
type Record struct {
	*helmrelease.Release
	// seen is the resource version that was last read or written. A record is only updated as it was last seen: a second leader
	// may write the same ones.
	seen string
	// adopted reports whether it had no owner, so that Helm wrote it.
	adopted bool
}

// Digest is over what a record says was released.
func (r *Record) Digest() string {
	values, err := json.Marshal(r.Config)
	if err != nil {
		return "" // matches no record: values come from JSON
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\n", values)
	sum.Write([]byte(r.Manifest))
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// Meta is the metadata of a record.
type Meta struct {
	Revision int
	Status   helmrelease.Status
	Secret   metav1.ObjectMeta
}

// Store reads and writes records. It is safe for concurrent use on different releases.
type Store struct {
	kube  kubernetes.Interface
	live  client.Reader
	chart *chart.Metadata
	clock clock.PassiveClock
	codec codec
}

// NewStore returns a Store. Both clients read from the API server; chart is what records name as their chart.
func NewStore(kube kubernetes.Interface, live client.Reader, metadata *chart.Metadata, clk clock.PassiveClock) *Store {
	return &Store{kube: kube, live: live, chart: metadata, clock: clk}
}

// Get returns a record. Its status is that of its labels, since the content of an immutable record cannot follow. It adopts an
// orphan. Its errors include ErrNotFound, ErrDamaged, *ConflictError and *objects.TerminatingError.
func (s *Store) Get(ctx context.Context, ref objects.Ref, revision int) (*Record, error) {
	name := nameOf(ref.Name, revision)
	secret, err := s.kube.CoreV1().Secrets(ref.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading the release record %s: %w", name, err)
	}
	if secret.Type != SecretType {
		return nil, errNotARecord
	}
	record := &Record{seen: secret.ResourceVersion}
	if record.adopted, err = s.ensureOwned(ctx, ref, secret.ObjectMeta, &record.seen); err != nil {
		return nil, err
	}
	if record.Release = decode(secret.Data["release"], largestRecord); record.Release == nil {
		return nil, ErrDamaged
	}
	record.Name, record.Version, record.Labels = ref.Name, revision, secret.Labels // whatever the content claims
	record.Info.Status = helmrelease.Status(cmp.Or(secret.Labels["status"], record.Info.Status.String()))
	return record, nil
}

// List returns the metadata of all records of the name, whoever wrote them, in one request. A Secret that only has their labels
// is not among them.
func (s *Store) List(ctx context.Context, ref objects.Ref) ([]Meta, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	err := s.live.List(ctx, list, client.InNamespace(ref.Namespace), client.MatchingLabels{"owner": "helm", "name": ref.Name},
		client.MatchingFields{"type": string(SecretType)})
	if err != nil {
		return nil, fmt.Errorf("listing the release records: %w", err)
	}
	var metas []Meta
	for _, secret := range list.Items {
		revision, err := strconv.Atoi(secret.Labels["version"]) // helm.sh/helm/v3/pkg/storage/driver/secrets.go
		if err != nil || revision <= 0 || revision > largestRevision || secret.Name != nameOf(ref.Name, revision) {
			continue
		}
		metas = append(metas, Meta{revision, helmrelease.Status(secret.Labels["status"]), secret.ObjectMeta})
	}
	slices.SortFunc(metas, func(a, b Meta) int { return cmp.Compare(a.Revision, b.Revision) })
	return metas, nil
}

// largestRevision leaves room for more, so that a record with the largest number there is stops nothing.
const largestRevision = math.MaxInt32

// ensureOwned rejects a record of another owner and adopts an orphan. An orphan belongs to the release if the server was
// released before, or if Helm copied it from a record of the operator's (`helm rollback`).
func (s *Store) ensureOwned(ctx context.Context, ref objects.Ref, secret metav1.ObjectMeta, seen *string) (adopted bool, err error) {
	owner := ref.Ownership(secret.OwnerReferences)
	switch {
	case owner == objects.Own:
		return false, nil
	case owner == objects.Orphan && (ref.Installed || secret.Labels[revisionLabel] != ""):
		return true, s.adopt(ctx, ref, secret.Name, seen)
	case owner == objects.Predecessors:
		return false, &objects.TerminatingError{Object: "release record " + secret.Name}
	}
	return false, &ConflictError{Name: ref.Name}
}

func (s *Store) adopt(ctx context.Context, ref objects.Ref, name string, seen *string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"ownerReferences": []metav1.OwnerReference{ref.Owner()}}})
	if err != nil {
		return fmt.Errorf("encoding an owner: %w", err)
	}
	options := metav1.PatchOptions{FieldManager: objects.FieldManager}
	adopted, err := s.kube.CoreV1().Secrets(ref.Namespace).Patch(ctx, name, types.MergePatchType, patch, options)
	if err != nil {
		return fmt.Errorf("adopting the release record %s: %w", name, err)
	}
	*seen = adopted.ResourceVersion
	return nil
}

func (s *Store) create(ctx context.Context, ref objects.Ref, record *Record) error {
	secret, err := s.secretOf(ref, record, "createdAt")
	if err != nil {
		return err
	}
	return record.wrote(s.kube.CoreV1().Secrets(ref.Namespace).Create(ctx, secret, metav1.CreateOptions{}))
}

// update replaces a record as it was last seen.
func (s *Store) update(ctx context.Context, ref objects.Ref, record *Record) error {
	secret, err := s.secretOf(ref, record, "modifiedAt")
	if err != nil {
		return err
	}
	secret.ResourceVersion = record.seen
	return record.wrote(s.kube.CoreV1().Secrets(ref.Namespace).Update(ctx, secret, metav1.UpdateOptions{}))
}

func (r *Record) wrote(secret *corev1.Secret, err error) error {
	if err != nil {
		return fmt.Errorf("writing the release record: %w", err)
	}
	r.seen = secret.ResourceVersion
	return nil
}

// secretOf returns the Secret of a record, with the labels by which Helm finds it and one with the time.
func (s *Store) secretOf(ref objects.Ref, record *Record, timeLabel string) (*corev1.Secret, error) {
	encoded, err := s.codec.encode(record.Release)
	if err != nil {
		return nil, err
	}
	labels := map[string]string{}
	maps.Copy(labels, record.Labels)
	maps.Copy(labels, map[string]string{
		"name": record.Name, "owner": "helm", "status": record.Info.Status.String(), "version": strconv.Itoa(record.Version),
		timeLabel: strconv.FormatInt(s.clock.Now().Unix(), 10),
	})
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: nameOf(record.Name, record.Version), Labels: labels, OwnerReferences: []metav1.OwnerReference{ref.Owner()},
		},
		Type: SecretType,
		Data: map[string][]byte{"release": encoded},
	}, nil
}

// mark sets the status of a record. The content of an immutable one stays as it is; its labels change.
func (s *Store) mark(ctx context.Context, ref objects.Ref, record *Record, status helmrelease.Status) error {
	record.Info.Status = status
	if err := s.update(ctx, ref, record); !isImmutable(err) {
		return err
	}
	return s.label(ctx, ref, record.Version, status)
}

// label sets the status in the labels of a record whose content cannot be decoded or written.
func (s *Store) label(ctx context.Context, ref objects.Ref, revision int, status helmrelease.Status) error {
	patch := fmt.Appendf(nil, `[{"op":"replace","path":"/metadata/labels/status","value":%q}]`, status)
	options := metav1.PatchOptions{FieldManager: objects.FieldManager}
	_, err := s.kube.CoreV1().Secrets(ref.Namespace).Patch(ctx, nameOf(ref.Name, revision), types.JSONPatchType, patch, options)
	if apierrors.IsNotFound(err) || apierrors.IsInvalid(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("marking a release record: %w", err)
	}
	return nil
}

func (s *Store) delete(ctx context.Context, ref objects.Ref, revision int) error {
	err := s.kube.CoreV1().Secrets(ref.Namespace).Delete(ctx, nameOf(ref.Name, revision), metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting an old release record: %w", err)
	}
	return nil
}

// isImmutable reports whether the API server rejects a write because the Secret is immutable (ValidateSecretUpdate of
// kubernetes/pkg/apis/core/validation/validation.go).
func isImmutable(err error) bool {
	return apierrors.IsInvalid(err) && apierrors.HasStatusCause(err, metav1.CauseType(field.ErrorTypeForbidden))
}

// nameOf returns the name of a record's Secret (makeKey of helm.sh/helm/v3/pkg/storage/storage.go).
func nameOf(release string, revision int) string {
	return fmt.Sprintf("sh.helm.release.v1.%s.v%d", release, revision)
}
