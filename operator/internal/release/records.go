// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"

	"helm.sh/helm/v3/pkg/chart"
	helmrelease "helm.sh/helm/v3/pkg/release"
	helmtime "helm.sh/helm/v3/pkg/time"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/clock"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/render"
)

const (
	// keepRevisions is how many records of a release are kept.
	keepRevisions = 5
	// RecordType is the type of the Secrets that hold Helm's records (helm.sh/helm/v3/pkg/storage/driver/secrets.go).
	RecordType corev1.SecretType = "helm.sh/release.v1"
)

// revisionLabel is on the records that we write. Helm keeps such labels when it marks a record, and copies them into the next one when it
// rolls back or upgrades (helm.sh/helm/v3/pkg/action): there they name another revision. So they tell Helm's hand without reading what
// is in a record; the owner does not, for Helm drops owners when it marks one. What somebody forged, they do not tell: see recordDigest.
const revisionLabel = "jupyterserver.dev/revision"

// recordDigest is a digest of what a record says that was released.
func recordDigest(record *helmrelease.Release) string {
	values, err := json.Marshal(record.Config)
	if err != nil {
		return "" // of no record: values come from JSON
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\n", values)
	sum.Write([]byte(record.Manifest))
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// errNoRecord says that a revision has no record, or none any more.
var errNoRecord = errors.New("there is no such release record")

// errOtherSecret says that a Secret only has the name of a record, which there is none of therefore.
var errOtherSecret = fmt.Errorf("a Secret with the name of a release record is none: %w", errNoRecord)

// history is the records of one server's release. They are Secrets as Helm keeps them (helm.sh/helm/v3/pkg/storage/driver/secrets.go),
// with an owner.
type history struct {
	ctx     context.Context
	server  *v1alpha1.JupyterServer
	chart   *chart.Metadata
	clock   clock.PassiveClock
	packing *packing
	secrets corev1client.SecretInterface
	list    func() ([]metav1.PartialObjectMetadata, error)
	// seen are the resource versions of the records that were read or written, by name. A record is only updated as it was seen last:
	// another operator, which does not know yet that it leads no more, may write the same ones.
	seen map[string]string
	// released says that this server has been released before.
	released bool
	// good is the revision that a rollback would go back to: its record is kept. Zero: there is none.
	good int
	// superseded is the record that was deployed before, if there is one that can be read.
	superseded *helmrelease.Release
	// damaged is the revision that was deployed before, where its record cannot be read any more. Zero: it can.
	damaged int
	// listed are the revisions that were found when all records were looked through. Mostly none: they need not be.
	listed []int
	// adopted says that a record was taken up that Helm had written.
	adopted bool
}

func (e *Engine) history(ctx context.Context, server *v1alpha1.JupyterServer) *history {
	h := &history{
		ctx: ctx, server: server, chart: e.chart, clock: e.clock, packing: &e.packing,
		secrets: e.kube.CoreV1().Secrets(server.Namespace),
		list:    func() ([]metav1.PartialObjectMetadata, error) { return e.records(ctx, server) },
		seen:    map[string]string{},
	}
	if released := e.Released(server); released != nil {
		h.released, h.good = true, released.GoodRevision
	}
	return h
}

// begin writes the record of a revision as pending. A record of ours that never got deployed, because of a crash or a
// failure, is taken up again: its revision counts once.
func (h *history) begin(revision int, rendered *render.Rendered) (*helmrelease.Release, error) {
	for {
		record := h.record(revision, rendered)
		err := h.create(record)
		if err == nil {
			return record, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return nil, err
		}
		there, err := h.read(revision)
		if err != nil && !errors.Is(err, errOtherSecret) {
			return nil, err
		}
		if there == nil {
			revision++ // somebody else's, or one of ours that cannot be decoded any more
			continue
		}
		if there.Info.Status == helmrelease.StatusDeployed && there.Manifest == record.Manifest {
			return record, nil // a crash came between this record and the status
		}
		if there.Info.Status == helmrelease.StatusDeployed || there.Info.Status == helmrelease.StatusSuperseded {
			if err := h.tidy(revision); err != nil { // a crash may have come before that
				return nil, err
			}
			h.superseded = there
			revision++
			continue
		}
		if err := h.update(record); !isLocked(err) {
			return record, err
		}
		if err := h.label(revision, helmrelease.StatusFailed); err != nil {
			return nil, err
		}
		revision++
	}
}

// next is the revision to write, and loads the one that it supersedes.
func (h *history) next(released *v1alpha1.ReleaseStatus) (int, error) {
	if released == nil {
		return h.afterLatest(1)
	}
	previous, err := h.read(released.Revision)
	if errors.Is(err, errNoRecord) {
		return h.afterLatest(released.Revision + 1)
	}
	if err != nil {
		return 0, err
	}
	if h.superseded = previous; previous == nil {
		h.damaged = released.Revision
	}
	return released.Revision + 1, nil
}

// afterLatest is the newest revision of all, or a later one: begin takes it up again, or goes one further.
func (h *history) afterLatest(least int) (int, error) {
	latest, err := h.latest()
	return max(latest, least), err
}

// latest looks through all records of the name: those of others are never touched. Zero: there is none.
func (h *history) latest() (int, error) {
	records, err := h.list()
	if err != nil {
		return 0, err
	}
	latest := 0
	for _, record := range records {
		if err := h.ensureOwned(record.ObjectMeta); err != nil {
			return 0, err
		}
		latest = max(latest, revisionOf(record))
		h.listed = append(h.listed, revisionOf(record))
	}
	for _, record := range records {
		if revision := revisionOf(record); revision < latest && record.Labels["status"] == helmrelease.StatusDeployed.String() {
			if err := h.supersede(revision); err != nil { // several crashes in a row may have come before that
				return 0, err
			}
		}
	}
	return latest, nil
}

// supersede marks a revision that is not the newest one.
func (h *history) supersede(revision int) error {
	record, err := h.read(revision)
	switch {
	case errors.Is(err, errNoRecord):
		return nil
	case err != nil:
		return err
	case record == nil:
		return h.label(revision, helmrelease.StatusSuperseded)
	}
	return h.mark(record, helmrelease.StatusSuperseded)
}

// mark sets the status of a record. What is in one that somebody has made immutable stays as it is, but its labels tell.
func (h *history) mark(record *helmrelease.Release, status helmrelease.Status) error {
	record.Info.Status = status
	if err := h.update(record); !isLocked(err) {
		return err
	}
	return h.label(record.Version, status)
}

// isLocked says whether the API server refuses a write because the Secret is immutable (ValidateSecretUpdate of
// kubernetes/pkg/apis/core/validation/validation.go).
func isLocked(err error) bool {
	return apierrors.IsInvalid(err) && apierrors.HasStatusCause(err, metav1.CauseType(field.ErrorTypeForbidden))
}

// label sets the status in the labels of a record that cannot be decoded or written.
func (h *history) label(revision int, status helmrelease.Status) error {
	patch := fmt.Appendf(nil, `[{"op":"replace","path":"/metadata/labels/status","value":%q}]`, status)
	_, err := h.secrets.Patch(h.ctx, key(h.server.Name, revision), types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: FieldManager})
	if apierrors.IsNotFound(err) || apierrors.IsInvalid(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("marking a release record: %w", err)
	}
	return nil
}

// read returns a record of ours, or nil for one that cannot be decoded any more. Its status is that of its labels: of one that somebody
// has made immutable, only they can tell.
func (h *history) read(revision int) (*helmrelease.Release, error) {
	name := key(h.server.Name, revision)
	secret, err := h.secrets.Get(h.ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, errNoRecord
	}
	if err != nil {
		return nil, fmt.Errorf("reading the release record %s: %w", name, err)
	}
	if secret.Type != RecordType {
		return nil, errOtherSecret
	}
	h.seen[name] = secret.ResourceVersion
	if err := h.ensureOwned(secret.ObjectMeta); err != nil {
		return nil, err
	}
	record := unpack(secret.Data["release"], largestRecord)
	if record != nil {
		record.Name, record.Version, record.Labels = h.server.Name, revision, secret.Labels // whatever somebody wrote into it
		record.Info.Status = helmrelease.Status(cmp.Or(secret.Labels["status"], record.Info.Status.String()))
	}
	return record, nil
}

// ensureOwned refuses a record of others. One of nobody's counts as ours once we have released, or where it goes back to one that an
// operator wrote: `helm rollback` by hand leaves such. It gets an owner, so that it goes with the server.
func (h *history) ensureOwned(record metav1.ObjectMeta) error {
	whose := WhoseIs(h.server, record.OwnerReferences)
	switch {
	case whose == Ours:
		return nil
	case whose == Nobodys && (h.released || record.Labels[revisionLabel] != ""):
		return h.adopt(record.Name)
	case whose == Namesakes:
		return &TerminatingError{Object: "release record " + record.Name}
	}
	return &RecordConflictError{Name: h.server.Name}
}

func (h *history) adopt(name string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"ownerReferences": []metav1.OwnerReference{OwnerReference(h.server)}}})
	if err != nil {
		return fmt.Errorf("encoding an owner: %w", err)
	}
	adopted, err := h.secrets.Patch(h.ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: FieldManager})
	if err != nil {
		return fmt.Errorf("taking up the release record %s: %w", name, err)
	}
	h.seen[name], h.adopted = adopted.ResourceVersion, true
	return nil
}

// record is slim: it holds the values and the manifest, but not the chart's templates, which only a `helm upgrade`
// without a chart would read.
func (h *history) record(revision int, rendered *render.Rendered) *helmrelease.Release {
	now := helmtime.Time{Time: h.clock.Now()}
	status := helmrelease.StatusPendingUpgrade
	first := now
	if h.superseded == nil {
		status = helmrelease.StatusPendingInstall
	} else {
		first = h.superseded.Info.FirstDeployed
	}
	return &helmrelease.Release{
		Name:      h.server.Name,
		Namespace: h.server.Namespace,
		Version:   revision,
		Labels:    map[string]string{revisionLabel: strconv.Itoa(revision)},
		Chart:     &chart.Chart{Metadata: h.chart},
		Config:    rendered.Values,
		Manifest:  rendered.Manifest,
		Info: &helmrelease.Info{
			FirstDeployed: first,
			LastDeployed:  now,
			Status:        status,
			Description:   "Being applied",
			Notes:         fmt.Sprintf("This release belongs to the JupyterServer %s: change that instead of the release.\n", h.server.Name),
		},
	}
}

func (h *history) create(record *helmrelease.Release) error {
	secret, err := h.secret(record, "createdAt")
	if err != nil {
		return err
	}
	return h.wrote(h.secrets.Create(h.ctx, secret, metav1.CreateOptions{}))
}

func (h *history) update(record *helmrelease.Release) error {
	secret, err := h.secret(record, "modifiedAt")
	if err != nil {
		return err
	}
	secret.ResourceVersion = h.seen[secret.Name]
	return h.wrote(h.secrets.Update(h.ctx, secret, metav1.UpdateOptions{}))
}

func (h *history) wrote(secret *corev1.Secret, err error) error {
	if err != nil {
		return fmt.Errorf("writing the release record: %w", err)
	}
	h.seen[secret.Name] = secret.ResourceVersion
	return nil
}

// secret is what holds a record, with the labels by which Helm finds it, and with one that tells when it was written.
func (h *history) secret(record *helmrelease.Release, written string) (*corev1.Secret, error) {
	packed, err := h.packing.pack(record)
	if err != nil {
		return nil, err
	}
	labels := map[string]string{}
	maps.Copy(labels, record.Labels)
	maps.Copy(labels, map[string]string{
		"name": record.Name, "owner": "helm", "status": record.Info.Status.String(), "version": strconv.Itoa(record.Version),
		written: strconv.FormatInt(h.clock.Now().Unix(), 10),
	})
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: key(record.Name, record.Version), Labels: labels, OwnerReferences: []metav1.OwnerReference{OwnerReference(h.server)},
		},
		Type: RecordType,
		Data: map[string][]byte{"release": packed},
	}, nil
}

// finish marks a record as deployed, and tidies up after it.
func (h *history) finish(record *helmrelease.Release, description string) error {
	record.Info.Description = description
	if err := h.mark(record, helmrelease.StatusDeployed); err != nil {
		return err
	}
	return h.tidy(record.Version)
}

// tidy follows a revision that was deployed: it marks the one before as superseded, and drops the oldest, unless it is the good one.
func (h *history) tidy(revision int) error {
	if h.superseded != nil && h.superseded.Info.Status == helmrelease.StatusDeployed {
		if err := h.mark(h.superseded, helmrelease.StatusSuperseded); err != nil {
			return err
		}
	}
	if h.damaged != 0 {
		if err := h.label(h.damaged, helmrelease.StatusSuperseded); err != nil {
			return err
		}
	}
	oldest := revision - keepRevisions
	for _, old := range h.listed { // Helm may have made many
		if old < oldest && old != h.good {
			if err := h.drop(old); err != nil {
				return err
			}
		}
	}
	if oldest <= 0 || oldest == h.good {
		return nil
	}
	return h.drop(oldest)
}

func (h *history) drop(revision int) error {
	err := h.secrets.Delete(h.ctx, key(h.server.Name, revision), metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("dropping an old release record: %w", err)
	}
	return nil
}

// fail marks a record as failed, so that `helm history` tells. It is best effort: the reconcile fails with the cause
// anyway, and a record left as pending is taken up again.
func (h *history) fail(record *helmrelease.Release, cause error) {
	record.Info.Status = helmrelease.StatusFailed
	record.Info.Description = cause.Error()
	_ = h.update(record)
}

// key is the name of a record's Secret (makeKey of helm.sh/helm/v3/pkg/storage/storage.go).
func key(name string, revision int) string {
	return fmt.Sprintf("sh.helm.release.v1.%s.v%d", name, revision)
}
