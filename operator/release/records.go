package release

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"helm.sh/helm/v3/pkg/chart"
	helmrelease "helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage/driver"
	helmtime "helm.sh/helm/v3/pkg/time"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/clock"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/render"
)

const (
	// keepRevisions is how many records of a release are kept.
	keepRevisions = 5
	// RecordType is the type of the Secrets that hold Helm's records (helm.sh/helm/v3/pkg/storage/driver/secrets.go).
	RecordType corev1.SecretType = "helm.sh/release.v1"
)

// history is the records of one server's release.
type history struct {
	ctx     context.Context
	server  *v1alpha1.JupyterServer
	chart   *chart.Metadata
	clock   clock.PassiveClock
	secrets corev1client.SecretInterface
	records *driver.Secrets
	list    func() ([]metav1.PartialObjectMetadata, error)
	// seen are the resource versions of the records that were read or written, by name.
	seen map[string]string
	// released says that this server has been released before.
	released bool
	// good is the revision that a rollback would go back to: its record is kept. Zero: there is none.
	good int
	// superseded is the record that was deployed before, if there is one.
	superseded *helmrelease.Release
}

func (e *Engine) history(ctx context.Context, server *v1alpha1.JupyterServer) *history {
	secrets := e.kube.CoreV1().Secrets(server.Namespace)
	seen := map[string]string{}
	owned := ownedSecrets{SecretInterface: secrets, ctx: ctx, owner: OwnerReference(server), seen: seen}
	h := &history{ctx: ctx, server: server, seen: seen, chart: e.chart, clock: e.clock, secrets: secrets, records: driver.NewSecrets(owned),
		list: func() ([]metav1.PartialObjectMetadata, error) { return e.records(ctx, server) }}
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
		err := h.records.Create(key(h.server.Name, revision), record)
		if err == nil {
			return record, nil
		}
		if !errors.Is(err, driver.ErrReleaseExists) {
			return nil, fmt.Errorf("writing the release record: %w", err)
		}
		there, err := h.read(revision)
		if err != nil {
			return nil, err
		}
		if there == nil {
			revision++ // ours, and not to be decoded any more
			continue
		}
		if there.Info.Status == helmrelease.StatusDeployed && there.Manifest == record.Manifest {
			return there, nil // a crash came between this record and the status
		}
		if there.Info.Status == helmrelease.StatusDeployed || there.Info.Status == helmrelease.StatusSuperseded {
			if err := h.tidy(revision); err != nil { // a crash may have come before that
				return nil, err
			}
			h.superseded = there
			revision++
			continue
		}
		if err := h.records.Update(key(h.server.Name, revision), record); err != nil {
			return nil, fmt.Errorf("writing the release record: %w", err)
		}
		return record, nil
	}
}

// next is the revision to write, and loads the one that it supersedes.
func (h *history) next(released *v1alpha1.ReleaseStatus) (int, error) {
	if released == nil {
		latest, err := h.latest()
		return max(latest, 1), err // begin takes it up again, or goes one further
	}
	previous, err := h.read(released.Revision)
	if errors.Is(err, driver.ErrReleaseNotFound) {
		latest, err := h.latest()
		return max(latest, released.Revision+1), err
	}
	if err != nil {
		return 0, err
	}
	h.superseded = previous
	return released.Revision + 1, nil
}

// latest looks through all records of the name: those of others are never touched. Zero: there is none.
func (h *history) latest() (int, error) {
	records, err := h.list()
	if err != nil {
		return 0, err
	}
	latest := 0
	for _, record := range records {
		if err := h.ensureOwned(record.Name, record.OwnerReferences); err != nil {
			return 0, err
		}
		latest = max(latest, revisionOf(record))
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
	if record == nil || err != nil {
		return err
	}
	record.Info.Status = helmrelease.StatusSuperseded
	if err := h.records.Update(key(h.server.Name, revision), record); err != nil {
		return fmt.Errorf("writing the release record: %w", err)
	}
	return nil
}

// read returns a record of ours, or nil for one that cannot be decoded any more.
func (h *history) read(revision int) (*helmrelease.Release, error) {
	name := key(h.server.Name, revision)
	secret, err := h.secrets.Get(h.ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, driver.ErrReleaseNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading the release record %s: %w", name, err)
	}
	h.seen[name] = secret.ResourceVersion
	if err := h.ensureOwned(secret.Name, secret.OwnerReferences); err != nil {
		return nil, err
	}
	return decode(secret), nil
}

// decode returns nil for a record that somebody has damaged: Helm's driver panics on some of those
// (helm.sh/helm/v3 v3.22.0, pkg/storage/driver/secrets.go, Get).
func decode(secret *corev1.Secret) (record *helmrelease.Release) {
	defer func() {
		if recover() != nil {
			record = nil
		}
	}()
	if !decodesWithin(secret.Data["release"], largestRecord) {
		return nil
	}
	record, err := driver.NewSecrets(readSecret{secret: secret}).Get(secret.Name)
	if err != nil || record.Info == nil {
		return nil
	}
	return record
}

// largestRecord is the most bytes of a record that is decoded. One that the operator wrote is compressed to less than the MiB that a
// Secret may have, and whoever may write Secrets could fill the operator's memory with one that is compressed well.
const largestRecord = 16 << 20

// decodesWithin says whether what Helm's driver would read has no more bytes (helm.sh/helm/v3/pkg/storage/driver/util.go).
func decodesWithin(encoded []byte, limit int64) bool {
	unzipped, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(encoded)))
	if err != nil {
		return true // not compressed, and so no larger than the Secret
	}
	n, err := io.Copy(io.Discard, io.LimitReader(unzipped, limit+1))
	return err == nil && n <= limit
}

// ensureOwned refuses a record of others. One of nobody's counts as ours once we have released: `helm rollback` by hand leaves
// such. It gets an owner, so that it goes with the server.
func (h *history) ensureOwned(name string, owners []metav1.OwnerReference) error {
	there := &ownedObject{owners: owners}
	switch {
	case there.ownedBy(h.server):
		return nil
	case len(there.owners) == 0 && h.released:
		return h.adopt(name)
	case there.ownedByNamesake(h.server):
		return &TerminatingError{Object: "release record " + name}
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
	h.seen[name] = adopted.ResourceVersion
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

// finish marks a record as deployed, and tidies up after it.
func (h *history) finish(record *helmrelease.Release, description string) error {
	record.Info.Status = helmrelease.StatusDeployed
	record.Info.Description = description
	if err := h.records.Update(key(record.Name, record.Version), record); err != nil {
		return fmt.Errorf("writing the release record: %w", err)
	}
	return h.tidy(record.Version)
}

// tidy follows a revision that was deployed: it marks the one before as superseded, and drops the oldest, unless it is the good one.
func (h *history) tidy(revision int) error {
	if h.superseded != nil && h.superseded.Info.Status == helmrelease.StatusDeployed {
		h.superseded.Info.Status = helmrelease.StatusSuperseded
		if err := h.records.Update(key(h.server.Name, h.superseded.Version), h.superseded); err != nil {
			return fmt.Errorf("writing the release record: %w", err)
		}
	}
	if oldest := revision - keepRevisions; oldest > 0 && oldest != h.good {
		return h.drop(oldest)
	}
	return nil
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
	_ = h.records.Update(key(record.Name, record.Version), record)
}

// key is the name of a record's Secret (makeKey of helm.sh/helm/v3/pkg/storage/storage.go).
func key(name string, revision int) string {
	return fmt.Sprintf("sh.helm.release.v1.%s.v%d", name, revision)
}

// ownedSecrets adds to Helm's storage driver what it lacks: a context that ends, owner references on the records, and that a record is
// only updated as it was seen last. Another operator, which does not know yet that it leads no more, may write the same records.
type ownedSecrets struct {
	corev1client.SecretInterface
	ctx   context.Context
	owner metav1.OwnerReference
	seen  map[string]string
}

func (s ownedSecrets) Create(_ context.Context, secret *corev1.Secret, opts metav1.CreateOptions) (*corev1.Secret, error) {
	secret.OwnerReferences = []metav1.OwnerReference{s.owner}
	return s.see(s.SecretInterface.Create(s.ctx, secret, opts))
}

func (s ownedSecrets) Update(_ context.Context, secret *corev1.Secret, opts metav1.UpdateOptions) (*corev1.Secret, error) {
	secret.OwnerReferences = []metav1.OwnerReference{s.owner}
	secret.ResourceVersion = s.seen[secret.Name]
	return s.see(s.SecretInterface.Update(s.ctx, secret, opts))
}

func (s ownedSecrets) see(secret *corev1.Secret, err error) (*corev1.Secret, error) {
	if err == nil {
		s.seen[secret.Name] = secret.ResourceVersion
	}
	return secret, err
}

// readSecret lets Helm's driver decode a Secret that was read already.
type readSecret struct {
	corev1client.SecretInterface
	secret *corev1.Secret
}

func (s readSecret) Get(context.Context, string, metav1.GetOptions) (*corev1.Secret, error) {
	return s.secret, nil
}
