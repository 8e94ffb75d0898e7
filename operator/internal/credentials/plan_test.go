// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package credentials_test

import (
	"errors"
	"maps"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/credentials"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/objects"
)

const (
	originLabel   = "jupyterserver.dev/token"
	sessionsLabel = "jupyterserver.dev/sessions"
)

func ref(installed bool) objects.Ref {
	return objects.Ref{Namespace: "lab", Name: "alice", UID: "1", Installed: installed}
}

// secret returns the credentials Secret of alice with values, as the API server holds it.
func secret(values map[string]string, labels map[string]string, edits ...func(*corev1.Secret)) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Name: "alice-jupyter", Namespace: "lab", UID: "2", Labels: map[string]string{v1alpha1.ServerLabel: "alice"},
		OwnerReferences: []metav1.OwnerReference{ref(true).Owner()}, Annotations: map[string]string{"mine": "x"},
	}}
	maps.Copy(s.Labels, labels)
	s.Data = map[string][]byte{"salt": []byte("some-salt")}
	for key, value := range values {
		s.Data[key] = []byte(value)
	}
	for _, edit := range edits {
		edit(s)
	}
	return s
}

func ownedBy(owners ...metav1.OwnerReference) func(*corev1.Secret) {
	return func(s *corev1.Secret) { s.OwnerReferences = owners }
}

func auth(edit func(*v1alpha1.Auth)) *v1alpha1.JupyterServerSpec {
	spec := &v1alpha1.JupyterServerSpec{Auth: v1alpha1.Auth{Mode: v1alpha1.AuthModeToken}}
	edit(&spec.Auth)
	return spec
}

func oidc(issuer, clientSecret string) *v1alpha1.JupyterServerSpec {
	return auth(func(a *v1alpha1.Auth) {
		a.Mode, a.OIDC = v1alpha1.AuthModeOIDC, &v1alpha1.OIDC{IssuerURL: issuer, ClientID: "x"}
		if clientSecret != "" {
			a.OIDC.ClientSecret = &v1alpha1.SecretValue{Value: clientSecret}
		}
	})
}

var (
	generated = auth(func(*v1alpha1.Auth) {})
	inline    = auth(func(a *v1alpha1.Auth) { a.Token = &v1alpha1.SecretValue{Value: "inline-token"} })
	named     = auth(func(a *v1alpha1.Auth) {
		a.Token = &v1alpha1.SecretValue{SecretKeyRef: &v1alpha1.KeyRef{Name: "mine", Key: "t"}}
	})
)

func TestNewPlan(t *testing.T) {
	predecessor := metav1.OwnerReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.Kind, Name: "alice", UID: "0"}
	project := metav1.OwnerReference{APIVersion: "hub.example.org/v1", Kind: v1alpha1.Kind, Name: "alice", UID: "9"}
	origin := func(of string) map[string]string { return map[string]string{originLabel: of} }
	sessions := credentials.Needed(oidc("https://a", ""))
	sessionsOf := func(issuer string) map[string]string {
		return map[string]string{sessionsLabel: credentials.Digest([]byte(issuer + " x"))[:32]}
	}
	restore := func(spec *v1alpha1.JupyterServerSpec, specIsReleased bool, names ...string) []credentials.Key {
		return credentials.Restorable(spec, specIsReleased, names)
	}
	type values = map[string]string // a value, or * for one that is generated
	tests := []struct {
		reason string
		have   *corev1.Secret // nil: there is none
		first  bool           // the server was never released
		q      credentials.Request
		want   values // nil: nothing is written
		labels map[string]string
		orphan bool // the Secret has no owner afterwards
		names  []string
		err    error
	}{
		{reason: "no key is needed, so there is no Secret", q: credentials.Request{Keys: credentials.Needed(named)}},
		{
			reason: "a Secret is created with a salt", first: true, q: credentials.Request{Keys: credentials.Needed(generated)},
			want: values{"salt": "*", "token": "*"}, labels: origin("generated"), names: []string{"token"},
		},
		{
			reason: "an inline token is copied", first: true, q: credentials.Request{Keys: credentials.Needed(inline)},
			want: values{"salt": "*", "token": "inline-token"}, labels: origin("inline"), names: []string{"token"},
		},
		{
			reason: "a server to sign in to needs two keys", first: true, q: credentials.Request{Keys: credentials.Needed(oidc("https://a", "hush"))},
			want: values{"salt": "*", "cookie-secret": "*", "client-secret": "hush"}, labels: sessionsOf("https://a"),
			names: []string{"cookie-secret", "client-secret"},
		},
		{
			reason: "nothing to do", have: secret(values{"token": "t"}, origin("generated")),
			q: credentials.Request{Keys: credentials.Needed(generated)},
		},
		{
			reason: "a missing key is filled", have: secret(nil, origin("generated")), q: credentials.Request{Keys: credentials.Needed(generated)},
			want: values{"salt": "some-salt", "token": "*"}, labels: origin("generated"), names: []string{"token"},
		},
		{
			reason: "an empty key is filled", have: secret(values{"token": ""}, origin("generated")), q: credentials.Request{Keys: credentials.Needed(generated)},
			want: values{"salt": "some-salt", "token": "*"}, labels: origin("generated"), names: []string{"token"},
		},
		{
			reason: "an inline token does not live on as the generated one", have: secret(values{"token": "inline-token"}, origin("inline")),
			q:    credentials.Request{Keys: credentials.Needed(generated)},
			want: values{"salt": "some-salt", "token": "*"}, labels: origin("generated"), names: []string{"token"},
		},
		{
			reason: "a lost label is restored without another value", have: secret(values{"token": "inline-token"}, nil),
			q:    credentials.Request{Keys: credentials.Needed(inline)},
			want: values{"salt": "some-salt", "token": "inline-token"}, labels: origin("inline"),
		},
		{
			reason: "another issuer ends the sessions", have: secret(values{"cookie-secret": "c"}, sessionsOf("https://b")), q: credentials.Request{Keys: sessions},
			want: values{"salt": "some-salt", "cookie-secret": "*"}, labels: sessionsOf("https://a"), names: []string{"cookie-secret"},
		},
		{
			reason: "an inline value is dropped that nothing needs", have: secret(values{"token": "inline-token", "client-secret": "hush"}, origin("inline")),
			q:    credentials.Request{Keys: credentials.Needed(named), Drops: true},
			want: values{"salt": "some-salt"}, labels: origin("inline"),
		},
		{
			reason: "what the pod reads is not dropped", have: secret(values{"token": "inline-token"}, origin("inline")),
			q: credentials.Request{Keys: credentials.Needed(named), Reads: []string{"token"}, Drops: true},
		},
		{
			reason: "a pod that reads the whole Secret reads each key", have: secret(values{"token": "inline-token"}, origin("inline")),
			q: credentials.Request{Keys: credentials.Needed(named), Reads: []string{objects.AllKeys}, Drops: true},
		},
		{
			reason: "nothing is dropped while a rollback may need it", have: secret(values{"token": "inline-token"}, origin("inline")),
			q: credentials.Request{Keys: credentials.Needed(named)},
		},
		{
			reason: "a generated token stays for the day that the spec needs it again", have: secret(values{"token": "t"}, origin("generated")),
			q: credentials.Request{Keys: credentials.Needed(named), Drops: true},
		},
		{
			reason: "nothing can be dropped from an immutable Secret",
			have:   secret(values{"token": "inline-token"}, origin("inline"), func(s *corev1.Secret) { s.Immutable = new(true) }),
			q:      credentials.Request{Keys: credentials.Needed(named), Drops: true},
		},
		{
			reason: "a lost owner is adopted", have: secret(values{"token": "t"}, origin("generated"), ownedBy()), q: credentials.Request{Keys: credentials.Needed(generated)},
			want: values{"salt": "some-salt", "token": "t"}, labels: origin("generated"),
		},
		{
			reason: "a Secret without an owner is left alone if no key is needed", have: secret(values{"token": "t"}, origin("generated"), ownedBy()),
			q: credentials.Request{Keys: credentials.Needed(named)}, orphan: true,
		},
		{
			reason: "a Secret without an owner is another one's before the first release", first: true,
			have: secret(nil, nil, ownedBy()), q: credentials.Request{Keys: credentials.Needed(generated)}, orphan: true, err: &objects.ConflictError{},
		},
		{
			reason: "another owner's Secret is in the way", have: secret(nil, nil, ownedBy(project)),
			q: credentials.Request{Keys: credentials.Needed(generated)}, err: &objects.ConflictError{},
		},
		{
			reason: "another owner's Secret is not in the way if no key is needed", have: secret(values{"token": "t"}, origin("inline"), ownedBy(project)),
			q: credentials.Request{Keys: credentials.Needed(named), Drops: true},
		},
		{
			reason: "the Secret of a deleted server is waited for", have: secret(nil, nil, ownedBy(predecessor)),
			q: credentials.Request{Keys: credentials.Needed(generated)}, err: &objects.TerminatingError{},
		},
		{
			reason: "a deleted Secret is restored with a generated token", q: credentials.Request{Keys: restore(named, false, "token"), Restores: true},
			want: values{"salt": "*", "token": "*"}, labels: origin("generated"), names: []string{"token"},
		},
		{
			reason: "inline values are restored while the spec is the released one",
			q:      credentials.Request{Keys: restore(inline, true, "token"), Restores: true},
			want:   values{"salt": "*", "token": "inline-token"}, labels: origin("inline"), names: []string{"token"},
		},
		{
			reason: "a client secret that no record holds is lost", q: credentials.Request{Keys: restore(oidc("https://a", "hush"), false, "client-secret", "cookie-secret"), Restores: true},
			want: values{"salt": "*", "cookie-secret": "*"}, labels: map[string]string{sessionsLabel: "unknown"}, names: []string{"cookie-secret"},
		},
		{
			reason: "a restored key of unknown issuer is replaced by the next spec", have: secret(values{"cookie-secret": "c"}, map[string]string{sessionsLabel: "unknown"}),
			q:    credentials.Request{Keys: sessions},
			want: values{"salt": "some-salt", "cookie-secret": "*"}, labels: sessionsOf("https://a"), names: []string{"cookie-secret"},
		},
		{
			reason: "a lost owner is restored although no key is missing", have: secret(values{"token": "t"}, origin("generated"), ownedBy()),
			q:    credentials.Request{Restores: true},
			want: values{"salt": "some-salt", "token": "t"}, labels: origin("generated"),
		},
		{
			reason: "another owner's Secret is not filled, and that is no error", have: secret(nil, nil, ownedBy(project)),
			q: credentials.Request{Keys: restore(generated, true, "token"), Restores: true},
		},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			cluster := fake.NewClientBuilder().Build()
			if test.have != nil {
				if err := cluster.Create(t.Context(), test.have); err != nil {
					t.Fatal(err)
				}
				test.q.Have = read(t, cluster)
				if _, err := credentials.Strip(test.q.Have); err != nil {
					t.Fatal(err)
				}
			}
			test.q.Ref = ref(!test.first)
			before := test.q.Have.DeepCopy()
			plan, err := credentials.NewPlan(test.q)
			if !sameError(err, test.err) {
				t.Fatalf("error %v, want %T", err, test.err)
			}
			if plan.Writes() != (test.want != nil) || !slices.Equal(plan.Restored, test.names) {
				t.Fatalf("the plan writes: %t, and restores %v, want %v", plan.Writes(), plan.Restored, test.names)
			}
			if before != nil && !maps.Equal(before.Labels, test.q.Have.Labels) {
				t.Error("the Secret of the informers was changed")
			}
			if err := credentials.Apply(t.Context(), cluster, cluster, plan); err != nil {
				t.Fatal(err)
			}
			if test.want != nil {
				check(t, read(t, cluster), test.want, test.labels)
			}
			if plan.Secret == nil {
				return
			}
			after := read(t, cluster)
			if isOrphan := len(after.OwnerReferences) == 0; isOrphan != test.orphan {
				t.Errorf("it is an orphan: %t", isOrphan)
			}
			if test.have != nil && after.Annotations["mine"] != "x" {
				t.Error("an annotation is lost")
			}
			if _, err := credentials.Strip(after); err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(after.StringData, plan.Secret.StringData) {
				t.Errorf("the informers show %v, and the plan said %v", after.StringData, plan.Secret.StringData)
			}
		})
	}
}

func read(t *testing.T, c client.Client) *corev1.Secret {
	t.Helper()
	s := &corev1.Secret{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "lab", Name: "alice-jupyter"}, s); err != nil {
		t.Fatal(err)
	}
	return s
}

// check compares a Secret with values, of which * is any, and with labels beside that of the server.
func check(t *testing.T, got *corev1.Secret, values, labels map[string]string) {
	t.Helper()
	for key, value := range values {
		if data := string(got.Data[key]); data == "" || value != "*" && data != value {
			t.Errorf("%s is %q, want %q", key, data, value)
		}
	}
	if len(got.Data) != len(values) || len(got.StringData) > 0 {
		t.Errorf("it holds %v, want %v", got.Data, values)
	}
	labels = maps.Clone(labels)
	labels[v1alpha1.ServerLabel] = "alice"
	if !maps.Equal(got.Labels, labels) {
		t.Errorf("its labels are %v, want %v", got.Labels, labels)
	}
}

func sameError(got, want error) bool {
	switch want.(type) { //nolint:errorlint // the type of a row of the table
	case *objects.ConflictError:
		_, ok := errors.AsType[*objects.ConflictError](got)
		return ok
	case *objects.TerminatingError:
		_, ok := errors.AsType[*objects.TerminatingError](got)
		return ok
	}
	return got == nil
}

// A plan never overwrites what another client wrote in the meantime.
func TestApplyOfAStalePlan(t *testing.T) {
	tests := []struct {
		reason string
		have   *corev1.Secret // in the informers
		now    *corev1.Secret // in the cluster
	}{
		{"it was created", nil, secret(map[string]string{"token": "t"}, nil)},
		{"it was changed", secret(nil, nil), secret(map[string]string{"token": "t"}, nil)},
		{"it was deleted", secret(nil, nil), nil},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			cluster := fake.NewClientBuilder().Build()
			if test.now != nil {
				if err := cluster.Create(t.Context(), test.now); err != nil {
					t.Fatal(err)
				}
			}
			if test.have != nil {
				test.have.ResourceVersion = "999"
				if _, err := credentials.Strip(test.have); err != nil {
					t.Fatal(err)
				}
			}
			plan, err := credentials.NewPlan(credentials.Request{Ref: ref(true), Have: test.have, Keys: credentials.Needed(generated)})
			if err != nil || !plan.Writes() {
				t.Fatalf("the plan writes: %t, %v", plan.Writes(), err)
			}
			if err := credentials.Apply(t.Context(), cluster, cluster, plan); !errors.Is(err, credentials.ErrStale) {
				t.Errorf("error %v", err)
			}
			s := &corev1.Secret{}
			err = cluster.Get(t.Context(), client.ObjectKey{Namespace: "lab", Name: "alice-jupyter"}, s)
			if test.now == nil && !apierrors.IsNotFound(err) || test.now != nil && string(s.Data["token"]) != "t" {
				t.Errorf("it was written to: %v, %v", s.Data, err)
			}
		})
	}
}
