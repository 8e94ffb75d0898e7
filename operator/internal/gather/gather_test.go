// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/credentials"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/diagnosis"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/objects"
)

func server(edit func(*v1alpha1.JupyterServerSpec)) *v1alpha1.JupyterServer {
	s := &v1alpha1.JupyterServer{ObjectMeta: metav1.ObjectMeta{Namespace: "lab", Name: "alice", UID: "1"}}
	s.Spec.Auth.Mode = v1alpha1.AuthModeToken
	edit(&s.Spec)
	return s
}

func key(name, key string) *v1alpha1.KeyRef { return &v1alpha1.KeyRef{Name: name, Key: key} }

// everything names an object in each way that there is.
func everything(s *v1alpha1.JupyterServerSpec) {
	s.Storage.ExistingClaim = "files"
	s.Auth.Mode = v1alpha1.AuthModeOIDC
	s.Auth.OIDC = &v1alpha1.OIDC{
		IssuerURL: "https://a", ClientID: "x", ClientSecret: &v1alpha1.SecretValue{SecretKeyRef: key("client", "secret")},
		CABundle: &v1alpha1.CABundle{ConfigMapKeyRef: *key("bundle", "ca.crt")},
	}
	variable := func(secret, key string) corev1.EnvVar {
		return corev1.EnvVar{ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: secret}, Key: key,
		}}}
	}
	s.JupyterServer.Env = []corev1.EnvVar{{Name: "plain", Value: "x"}, variable("env", "b"), variable("env", "a"), variable("env", "a")}
	s.JupyterServer.EnvFrom = []corev1.EnvFromSource{
		{ConfigMapRef: &corev1.ConfigMapEnvSource{}},
		{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "whole"}}},
	}
}

func TestReferences(t *testing.T) {
	tests := []struct {
		reason string
		edit   func(*v1alpha1.JupyterServerSpec)
		want   []string
	}{
		{"a generated token names nothing", func(*v1alpha1.JupyterServerSpec) {}, nil},
		{"an inline token names nothing", func(s *v1alpha1.JupyterServerSpec) { s.Auth.Token = &v1alpha1.SecretValue{Value: "x"} }, nil},
		{"a token in a Secret", func(s *v1alpha1.JupyterServerSpec) {
			s.Auth.Token = &v1alpha1.SecretValue{SecretKeyRef: key("mine", "token")}
		}, []string{"Secret mine"}},
		{"the token of another mode is not used", func(s *v1alpha1.JupyterServerSpec) {
			everything(s)
			s.Auth.Token = &v1alpha1.SecretValue{SecretKeyRef: key("mine", "token")}
		}, []string{"PVC files", "Secret client", "ConfigMap bundle", "Secret env", "Secret env", "Secret env", "Secret whole"}},
		{"a spec that Go's types reject lacks what its mode needs", func(s *v1alpha1.JupyterServerSpec) { s.Auth.Mode = v1alpha1.AuthModeOIDC }, nil},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			if got := Named(&server(test.edit).Spec); !slices.Equal(got, test.want) {
				t.Errorf("it names %v, want %v", got, test.want)
			}
		})
	}
}

// cluster returns a client of objects, whose Secrets are stripped as those of the informers.
func cluster(t *testing.T, held ...client.Object) client.Client {
	t.Helper()
	for _, o := range held {
		o.SetNamespace("lab")
	}
	return fake.NewClientBuilder().WithObjects(held...).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, into client.Object, options ...client.GetOption) error {
			err := c.Get(ctx, key, into, options...)
			if err == nil {
				_, err = credentials.Strip(into)
			}
			return err
		},
	}).Build()
}

func secret(name string, values map[string]string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-of-" + name)}, Data: map[string][]byte{}}
	for key, value := range values {
		s.Data[key] = []byte(value)
	}
	return s
}

func lookAt(g *Gatherer, s *v1alpha1.JupyterServer) *look {
	return &look{Gatherer: g, server: s, ref: release.Ref{Ref: RefOf(s, nil)}, memo: &Memo{}}
}

// The checksum is an annotation of the pod: another one restarts the pods of all servers.
func TestChecksumIsStable(t *testing.T) {
	held := []client.Object{
		secret("client", map[string]string{"secret": "hush", "other": "x"}),
		secret("env", map[string]string{"a": "1"}), // no b
		secret("whole", map[string]string{"z": "26", "y": "25"}),
	}
	d := func(value string) string { return credentials.Digest([]byte(value)) }
	l := lookAt(&Gatherer{Cached: cluster(t, held...)}, server(everything))
	l.bundle = "digest-of-the-bundle"
	l.Credentials.Secret = &corev1.Secret{StringData: map[string]string{"salt": "digest-of-the-salt", "cookie-secret": "digest-of-the-cookie"}}
	got, err := l.checksum(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join([]string{
		"alice-jupyter digest-of-the-salt", "cookie-secret digest-of-the-cookie",
		"client uid-of-client", "secret " + d("hush"),
		"env uid-of-env", "a " + d("1"), "b ",
		"whole uid-of-whole", "y " + d("25"), "z " + d("26"),
		"bundle digest-of-the-bundle", "",
	}, "\n")
	sum := sha256.Sum256([]byte(text))
	if want := hex.EncodeToString(sum[:16]); got != want {
		t.Errorf("checksum %s, want %s", got, want)
	}
}

func TestChecksumOfNothing(t *testing.T) {
	s := server(func(s *v1alpha1.JupyterServerSpec) {
		s.Auth.Token = &v1alpha1.SecretValue{SecretKeyRef: key("missing", "token")}
	})
	got, err := lookAt(&Gatherer{Cached: cluster(t)}, s).checksum(t.Context())
	sum := sha256.Sum256(nil)
	if want := hex.EncodeToString(sum[:16]); err != nil || got != want {
		t.Errorf("checksum %s, %v, want %s", got, err, want)
	}
}

func TestResolve(t *testing.T) {
	isController := []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.Kind, Name: "bob", UID: "2", Controller: new(true)}}
	claim := func(owners []metav1.OwnerReference) *corev1.PersistentVolumeClaim {
		return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "files", OwnerReferences: owners}}
	}
	bundle := func(data string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "bundle"}, Data: map[string]string{"ca.crt": data}}
	}
	client1 := secret("client", map[string]string{"secret": "hush"})
	tests := []struct {
		reason string
		held   []client.Object
		want   string // empty: everything is there
		code   string
	}{
		{"no claim", nil, "The PVC files of spec.storage.existingClaim does not exist in the namespace: create it, or correct the name.", v1alpha1.ReasonReferenceNotFound},
		{
			"the claim of another server", []client.Object{claim(isController)},
			"The PVC files of spec.storage.existingClaim belongs to the JupyterServer bob and would be deleted with it: remove existingClaim, or set storage.retain on that server and delete it first.",
			v1alpha1.ReasonClaimOwned,
		},
		{
			"no Secret", []client.Object{claim(nil)},
			"The Secret client of spec.auth.oidc.clientSecret.secretKeyRef does not exist in the namespace: create it, or correct the name.", v1alpha1.ReasonReferenceNotFound,
		},
		{
			"no key", []client.Object{claim(nil), secret("client", nil)},
			"The Secret client of spec.auth.oidc.clientSecret.secretKeyRef has no key secret: add it, or correct the key.", v1alpha1.ReasonReferenceNotFound,
		},
		{
			"an empty key", []client.Object{claim(nil), secret("client", map[string]string{"secret": ""})},
			"The key secret of the Secret client is empty: put the client secret there.", v1alpha1.ReasonReferenceNotFound,
		},
		{
			"no ConfigMap", []client.Object{claim(nil), client1},
			"The ConfigMap bundle of spec.auth.oidc.caBundle does not exist in the namespace: create it, or correct the name.", v1alpha1.ReasonReferenceNotFound,
		},
		{
			"no key of it", []client.Object{claim(nil), client1, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "bundle"}}},
			"The ConfigMap bundle of spec.auth.oidc.caBundle has no key ca.crt: add it, or correct the key.", v1alpha1.ReasonReferenceNotFound,
		},
		{
			"no certificate", []client.Object{claim(nil), client1, bundle("x")},
			"The key ca.crt of the ConfigMap bundle, which spec.auth.oidc.caBundle names, holds no certificate: put the certificates there, as PEM.",
			v1alpha1.ReasonBundleInvalid,
		},
		{
			"a damaged certificate", []client.Object{claim(nil), client1, bundle(certificate(t) + "-----BEGIN CERTIFICATE-----\neA==\n-----END CERTIFICATE-----\n")},
			"The key ca.crt of the ConfigMap bundle, which spec.auth.oidc.caBundle names, holds a certificate that cannot be read (x509: malformed certificate): put the certificates there, as PEM.",
			v1alpha1.ReasonBundleInvalid,
		},
		{
			"another owner's credentials Secret", []client.Object{claim(nil), client1, bundle(certificate(t)), secret("alice-jupyter", nil)},
			"The Secret alice-jupyter already exists and was not created for this server, so it was left alone: delete it, or give the JupyterServer another name.",
			v1alpha1.ReasonNameConflict,
		},
		{"what env names is left to the kubelet", []client.Object{claim(nil), client1, bundle(certificate(t))}, "", ""},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			for _, o := range test.held {
				o.SetResourceVersion("")
			}
			c := cluster(t, test.held...)
			l := lookAt(&Gatherer{Cached: c, Live: c}, server(everything))
			if err := errors.Join(l.findCredentials(t.Context()), l.resolve(t.Context())); err != nil {
				t.Fatal(err)
			}
			switch problem := l.Problem; {
			case problem == nil && (test.want != "" || l.References.SecretsChecksum == ""):
				t.Errorf("no problem, and the references %v", l.References)
			case problem != nil && (problem.Message != test.want || problem.Reason != test.code):
				t.Errorf("%s: %q, want %s: %q", problem.Reason, problem.Message, test.code, test.want)
			}
		})
	}
}

// What cannot be read is not missing.
func TestReadErrorsAreNoProblems(t *testing.T) {
	broken := fake.NewClientBuilder().WithInterceptorFuncs(interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return errors.New("the connection is gone")
		},
	}).Build()
	l := lookAt(&Gatherer{Cached: broken, Live: broken}, server(everything))
	for _, find := range []func(context.Context) error{l.findWorkload, l.findCredentials, l.resolve} {
		if err := find(t.Context()); err == nil || !strings.Contains(err.Error(), "the connection is gone") || l.Problem != nil {
			t.Errorf("error %v, problem %v", err, l.Problem)
		}
	}
}

// The informers hold only the metadata of ConfigMaps, so the content of each version is read once.
func TestBundleIsReadOnceForEachVersion(t *testing.T) {
	bundle := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "bundle"}, Data: map[string]string{"ca.crt": certificate(t)}}
	c := cluster(t, bundle)
	reads := 0
	live := interceptor.NewClient(c.(client.WithWatch), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, into client.Object, options ...client.GetOption) error {
			reads++
			return c.Get(ctx, key, into, options...)
		},
	})
	memo := &Memo{}
	look := func() string {
		t.Helper()
		l := lookAt(&Gatherer{Cached: c, Live: live}, server(everything))
		l.memo = memo
		if err := l.check(t.Context(), reference{kind: ConfigMap, ref: *key("bundle", "ca.crt")}); err != nil || l.Problem != nil {
			t.Fatalf("error %v, problem %v", err, l.Problem)
		}
		return l.bundle
	}
	first := look()
	if again := look(); again != first || reads != 1 {
		t.Errorf("%d reads, and the digests %s and %s", reads, first, again)
	}
	bundle.Data["ca.crt"] = certificate(t)
	if err := c.Update(t.Context(), bundle); err != nil {
		t.Fatal(err)
	}
	if other := look(); other == first || reads != 2 {
		t.Errorf("%d reads, and the digests %s and %s", reads, first, other)
	}
}

func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}))
}

// A spec that is not followed must not keep the pod from starting again.
func TestRestore(t *testing.T) {
	own := func(values map[string]string) *corev1.Secret {
		s := secret("alice-jupyter", values)
		s.OwnerReferences = []metav1.OwnerReference{RefOf(server(func(*v1alpha1.JupyterServerSpec) {}), nil).Owner()}
		return s
	}
	names := func(name string) func(*v1alpha1.JupyterServerSpec) {
		return func(s *v1alpha1.JupyterServerSpec) {
			s.Auth.Token = &v1alpha1.SecretValue{SecretKeyRef: key(name, "token")}
		}
	}
	tests := []struct {
		reason string
		held   *corev1.Secret // nil: there is none
		edit   func(*v1alpha1.JupyterServerSpec)
		reads  []string
		want   []string
	}{
		{"the pod reads nothing", nil, names("missing"), nil, nil},
		{"the Secret is gone", nil, names("missing"), []string{"token"}, []string{"token"}},
		{"the key is gone", own(nil), names("missing"), []string{"token"}, []string{"token"}},
		{"the key is empty", own(map[string]string{"token": ""}), names("missing"), []string{"token"}, []string{"token"}},
		{"the key is there", own(map[string]string{"token": "x"}), names("missing"), []string{"token"}, nil},
		{"the spec names the key, so it is its owner's", nil, names("alice-jupyter"), []string{"token"}, nil},
		{"the Secret is another owner's", secret("alice-jupyter", nil), names("missing"), []string{"token"}, nil},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			var held []client.Object
			if test.held != nil {
				held = append(held, test.held)
			}
			l := lookAt(&Gatherer{Cached: cluster(t, held...)}, server(test.edit))
			l.reads = test.reads
			if err := l.findCredentials(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(l.Restore.Restored, test.want) || l.Restore.Writes() != (len(test.want) > 0) {
				t.Errorf("it restores %v, want %v", l.Restore.Restored, test.want)
			}
		})
	}
}

func set(edits ...func(*appsv1.StatefulSet)) *appsv1.StatefulSet {
	s := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "alice", Generation: 2, UID: "set"}}
	s.Status = appsv1.StatefulSetStatus{ObservedGeneration: 2, UpdateRevision: "new"}
	for _, edit := range edits {
		edit(s)
	}
	return s
}

func pod(edits ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "alice-0", Labels: map[string]string{appsv1.ControllerRevisionHashLabelKey: "new"}}}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, {Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{
		{Name: "access-proxy", RestartCount: 7},
		{Name: diagnosis.JupyterContainer, RestartCount: 3, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Unix(9, 0)}}},
	}
	for _, edit := range edits {
		edit(p)
	}
	return p
}

func TestPodFacts(t *testing.T) {
	deleted := func(p *corev1.Pod) { p.DeletionTimestamp = new(metav1.Unix(10, 0)) }
	tests := []struct {
		reason               string
		set                  *appsv1.StatefulSet
		pod                  *corev1.Pod
		lags                 bool
		ready, current, runs bool
		restarts             int32
		started              bool
	}{
		{reason: "no pod", set: set()},
		{reason: "a pod that works", set: set(), pod: pod(), ready: true, current: true, runs: true, restarts: 3, started: true},
		{reason: "a pod that is being deleted", set: set(), pod: pod(deleted), current: true, restarts: 3, started: true},
		{
			reason: "a pod that is not ready runs Jupyter nevertheless", set: set(), current: true, runs: true, restarts: 3, started: true,
			pod: pod(func(p *corev1.Pod) { p.Status.Conditions[1].Status = corev1.ConditionFalse }),
		},
		{reason: "a pod without conditions", set: set(), pod: pod(func(p *corev1.Pod) { p.Status = corev1.PodStatus{} }), current: true},
		{
			reason: "Jupyter waits", set: set(), ready: true, current: true, restarts: 3,
			pod: pod(func(p *corev1.Pod) { p.Status.ContainerStatuses[1].State = corev1.ContainerState{} }),
		},
		{
			reason: "a pod of an older template", set: set(), ready: true, runs: true, restarts: 3, started: true,
			pod: pod(func(p *corev1.Pod) { p.Labels[appsv1.ControllerRevisionHashLabelKey] = "old" }),
		},
		{
			reason: "the controller has not seen the template", pod: pod(), ready: true, runs: true, restarts: 3, started: true,
			set: set(func(s *appsv1.StatefulSet) { s.Generation = 3 }),
		},
		{reason: "the informers lag", set: set(), pod: pod(), lags: true, ready: true, runs: true, restarts: 3, started: true},
		{reason: "no StatefulSet", pod: pod(), ready: true, runs: true, restarts: 3, started: true},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			got := podFacts(test.set, test.pod, test.lags)
			if got.Ready != test.ready || got.Current != test.current || got.Runs != test.runs || (got.StartedAt != nil) != test.started {
				t.Errorf("facts %+v", got)
			}
			if (got.Status != nil) != (test.pod != nil) {
				t.Fatalf("status %v", got.Status)
			}
			if test.pod != nil && (got.Status.Ready != test.ready || got.Status.Restarts != test.restarts || got.Status.Name != "alice-0") {
				t.Errorf("status %+v", got.Status)
			}
		})
	}
}

func TestMayHoldKernels(t *testing.T) {
	started := func(started *bool) *corev1.Pod {
		return pod(func(p *corev1.Pod) { p.Status.ContainerStatuses[1].Started = started })
	}
	for _, test := range []struct {
		reason string
		pod    *corev1.Pod
		want   bool
	}{
		{"Jupyter runs", started(new(true)), true},
		{"Jupyter has not passed its startup probe", started(new(false)), false},
		{"in doubt it has", started(nil), true},
		{"there is no container yet", pod(func(p *corev1.Pod) { p.Status = corev1.PodStatus{} }), false},
	} {
		if got := MayHoldKernels(test.pod); got != test.want {
			t.Errorf("%s: %t", test.reason, got)
		}
	}
}

func TestIsPodOf(t *testing.T) {
	ref := objects.Ref{Namespace: "lab", Name: "alice", UID: "1"}
	ours := set(func(s *appsv1.StatefulSet) { s.OwnerReferences = []metav1.OwnerReference{ref.Owner()} })
	theirs := set(func(s *appsv1.StatefulSet) {
		s.OwnerReferences = []metav1.OwnerReference{{APIVersion: "x/v1", Kind: "X", UID: "9"}}
	})
	owned := func(version, kind, name string, uid types.UID) *corev1.Pod {
		return pod(func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{APIVersion: version, Kind: kind, Name: name, UID: uid, Controller: new(true)}}
		})
	}
	tests := []struct {
		reason string
		set    *appsv1.StatefulSet
		pod    *corev1.Pod
		want   bool
	}{
		{"its StatefulSet's", ours, owned("apps/v1", "StatefulSet", "alice", "set"), true},
		{"that of an earlier StatefulSet", ours, owned("apps/v1", "StatefulSet", "alice", "earlier"), true},
		{"its StatefulSet is gone", nil, owned("apps/v1", "StatefulSet", "alice", "set"), true},
		{"that of a foreign StatefulSet", theirs, owned("apps/v1", "StatefulSet", "alice", "set"), false},
		{"that of its own, in whose place is a foreign one", theirs, owned("apps/v1", "StatefulSet", "alice", "earlier"), true},
		{"another project's", ours, owned("apps.kruise.io/v1beta1", "StatefulSet", "alice", "set"), false},
		{"a Job's", ours, owned("batch/v1", "Job", "alice", "set"), false},
		{"that of another StatefulSet", ours, owned("apps/v1", "StatefulSet", "bob", "set"), false},
		{"an orphan with a revision is adopted", ours, pod(), true},
		{"one that was made by hand", ours, pod(func(p *corev1.Pod) { p.Labels = nil }), false},
	}
	for _, test := range tests {
		if got := isPodOf(ref, test.set, test.pod); got != test.want {
			t.Errorf("%s: %t", test.reason, got)
		}
	}
}

func TestLastAccess(t *testing.T) {
	works, fails := &diagnosis.Access{Provider: diagnosis.Check{OK: true}}, &diagnosis.Access{}
	tests := []struct {
		reason  string
		answers []*diagnosis.Access // nil: missed
		said    *diagnosis.Access
		next    time.Duration
	}{
		{"all is well", []*diagnosis.Access{works}, works, lookAtAccess},
		{"the provider is in trouble", []*diagnosis.Access{works, fails}, fails, lookAtTrouble},
		{"nothing was heard yet", []*diagnosis.Access{nil}, nil, lookAtTrouble},
		{"a missed answer changes nothing", []*diagnosis.Access{works, nil}, works, lookAtTrouble},
		{"a network blocks the operator", []*diagnosis.Access{works, nil, nil, nil}, works, lookAtSilence},
		{"and then no longer", []*diagnosis.Access{nil, nil, nil, nil, works}, works, lookAtAccess},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			var (
				last lastAccess
				next time.Duration
			)
			for _, answer := range test.answers {
				next = last.after(answer)
			}
			if last.said != test.said || next < test.next || next > test.next*12/10 {
				t.Errorf("said %v, and asked again after %v, want %v", last.said, next, test.next)
			}
		})
	}
}

func TestUnreadySince(t *testing.T) {
	now, created, turned := time.Unix(300, 0), metav1.Unix(100, 0), metav1.Unix(200, 0)
	ready := func(status metav1.ConditionStatus) []metav1.Condition {
		return []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: status, LastTransitionTime: turned}}
	}
	for _, test := range []struct {
		reason     string
		conditions []metav1.Condition
		want       time.Time
	}{
		{"it has no status yet", nil, created.Time},
		{"it was ready until now", ready(metav1.ConditionTrue), now},
		{"it is not ready", ready(metav1.ConditionFalse), turned.Time},
		{"nothing is known", []metav1.Condition{{Type: v1alpha1.ConditionStalled}}, now},
	} {
		s := server(func(*v1alpha1.JupyterServerSpec) {})
		s.CreationTimestamp, s.Status.Conditions = created, test.conditions
		if got := unreadySince(s, now); !got.Equal(test.want) {
			t.Errorf("%s: %v, want %v", test.reason, got, test.want)
		}
	}
}

// Many servers of a namespace start at once: the API server reads all events of a namespace to find those of one object.
func TestEventsAreSharedByTheServersOfANamespace(t *testing.T) {
	event := func(name, uid string) *corev1.Event {
		return &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: name}, InvolvedObject: corev1.ObjectReference{UID: types.UID(uid)}}
	}
	var lists atomic.Int32
	held := cluster(t, event("a", "1"), event("b", "1"), event("c", "2"), event("d", ""))
	live := interceptor.NewClient(held.(client.WithWatch), interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			lists.Add(1)
			time.Sleep(20 * time.Millisecond) // a slow answer, which all callers share
			return c.List(ctx, list, options...)
		},
	})
	clk := clocktesting.NewFakeClock(time.Unix(100, 0))
	events := NewEvents(live, clk)
	about := func(namespace string, want int, uids ...types.UID) {
		t.Helper()
		if found, err := events.about(t.Context(), namespace, uids...); err != nil || len(found) != want {
			t.Errorf("%d events, %v, want %d", len(found), err, want)
		}
	}
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() { about("lab", 3, "1", "2") })
	}
	group.Wait()
	clk.Step(eventsLife - time.Millisecond)
	about("lab", 2, "1", "3")
	if got := lists.Load(); got != 1 {
		t.Errorf("the events were read %d times, want once", got)
	}
	about("other", 0, "1")
	clk.Step(time.Millisecond)
	about("lab", 1, "2")
	if got := lists.Load(); got != 3 {
		t.Errorf("the events were read %d times, want once for another namespace, and once when they are old", got)
	}
}

func TestEventsAreReadInPages(t *testing.T) {
	live := interceptor.NewClient(cluster(t).(client.WithWatch), interceptor.Funcs{
		List: func(_ context.Context, _ client.WithWatch, into client.ObjectList, options ...client.ListOption) error {
			asked := (&client.ListOptions{}).ApplyOptions(options)
			events, ok := into.(*corev1.EventList)
			if !ok || asked.Namespace != "lab" || asked.Limit != 500 {
				return errors.New("not a page of events")
			}
			events.Items = []corev1.Event{{InvolvedObject: corev1.ObjectReference{UID: "1"}, Message: "after " + asked.Continue}}
			if asked.Continue == "" {
				events.Continue = "the first page"
			}
			return nil
		},
	})
	found, err := NewEvents(live, clocktesting.NewFakeClock(time.Unix(100, 0))).about(t.Context(), "lab", "1")
	if err != nil || len(found) != 2 || found[0].Message != "after " || found[1].Message != "after the first page" {
		t.Errorf("events %v, %v", found, err)
	}
}

// An error is not remembered, and is none of the answers.
func TestEventsThatCannotBeRead(t *testing.T) {
	fails := true
	live := fake.NewClientBuilder().WithInterceptorFuncs(interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			if fails {
				return errors.New("the connection is gone")
			}
			return c.List(ctx, list, options...)
		},
	}).Build()
	events := NewEvents(live, clocktesting.NewFakeClock(time.Unix(100, 0)))
	if _, err := events.about(t.Context(), "lab", "1"); err == nil || !strings.Contains(err.Error(), "listing events: the connection is gone") {
		t.Errorf("error %v", err)
	}
	fails = false
	if _, err := events.about(t.Context(), "lab", "1"); err != nil {
		t.Error(err)
	}
}
