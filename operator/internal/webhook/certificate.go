// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/cert-controller/pkg/rotator"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

const (
	// fieldManager is the operator's name in managedFields.
	fieldManager = "jupyter-server-operator"
	// caKey is the rotator's key in the Secret for the certificate authority that the API server trusts.
	caKey = "ca.crt"
	// missingTTL is how long a missing ValidatingWebhookConfiguration is remembered. Probes are more frequent.
	missingTTL = 30 * time.Second
	// defaultCheckInterval is how often the expiry of the certificate is checked.
	defaultCheckInterval = 12 * time.Hour
)

var (
	errNoCertificate = errors.New("the webhook has no certificate yet")
	errNoController  = errors.New("the rotator of the webhook's certificate has no controller")
	errNotTrusted    = errors.New("the ValidatingWebhookConfiguration does not contain the webhook's certificate authority yet")
)

// certificate serves the certificate in the Secret. All replicas watch the Secret, and the leader renews it. The certificate is kept
// in memory, because the kubelet updates a mounted Secret up to a minute late.
type certificate struct {
	name    types.NamespacedName // of the Secret and of the ValidatingWebhookConfiguration
	writer  client.Writer
	live    client.Reader
	secrets client.Reader
	now     func() time.Time

	current atomic.Pointer[served]
	trusted atomic.Bool
	missing atomic.Pointer[time.Time] // when the ValidatingWebhookConfiguration was last found missing
}

type served struct {
	pair      tls.Certificate
	authority []byte
}

// setupCertificate sets up the generation and the watch of the Secret.
func setupCertificate(mgr ctrl.Manager, options Options) (*certificate, error) {
	if options.Service.Namespace == "" || options.Service.Name == "" {
		return nil, errService
	}
	c := &certificate{name: options.Service, writer: mgr.GetClient(), live: mgr.GetAPIReader(), now: time.Now} //nolint:forbidigo // the clock of the program
	if err := c.watch(mgr); err != nil {
		return nil, err
	}
	if err := rotate(mgr, options); err != nil {
		return nil, err
	}
	return c, nil
}

// rotate makes the rotator fill the Secret, renew its certificate, and set the CA bundle of the webhook configuration.
func rotate(mgr ctrl.Manager, options Options) error {
	capture := &rotatorManager{Manager: mgr}
	err := rotator.AddRotator(capture, &rotator.CertRotator{
		SecretKey:             options.Service,
		CertName:              corev1.TLSCertKey,
		KeyName:               corev1.TLSPrivateKeyKey,
		CAName:                options.Service.Name + "-ca",
		CAOrganization:        fieldManager,
		DNSName:               options.Service.Name + "." + options.Service.Namespace + ".svc",
		Webhooks:              []rotator.WebhookInfo{{Name: options.Service.Name, Type: rotator.Validating}},
		FieldOwner:            fieldManager,
		RequireLeaderElection: true,
		ServerCertDuration:    options.lifetime,
		LookaheadInterval:     options.lookahead,
		ControllerName:        options.rotatorName,
	})
	if err != nil {
		return fmt.Errorf("adding the rotator of the webhook's certificate: %w", err)
	}
	if capture.controller == nil {
		return errNoController
	}
	ticker := &rotatorTicker{controller: capture.controller, name: options.Service, interval: cmp.Or(options.checkInterval, defaultCheckInterval)}
	if err := mgr.Add(ticker); err != nil {
		return fmt.Errorf("adding the ticker of the webhook's certificate: %w", err)
	}
	return nil
}

// rotatorManager is the manager that the rotator is given. It drops the rotator's own loop, which ends the process when the Secret
// is missing for a moment, waits for files of a mounted Secret, which do not exist here, and leaks goroutines. The rotator's
// controller does the same work whenever it reconciles the Secret, and rotatorTicker triggers that.
type rotatorManager struct {
	ctrl.Manager
	controller reconcile.Reconciler
}

// Add implements manager.Manager.
func (m *rotatorManager) Add(runnable manager.Runnable) error {
	switch r := runnable.(type) {
	case *rotator.CertRotator:
		return nil
	case reconcile.Reconciler:
		m.controller = r
	}
	return m.Manager.Add(runnable)
}

// rotatorTicker makes the rotator check the Secret periodically, because certificates expire without an event.
type rotatorTicker struct {
	controller reconcile.Reconciler
	name       types.NamespacedName
	interval   time.Duration
}

// Start implements manager.Runnable.
func (c *rotatorTicker) Start(ctx context.Context) error {
	ticker := time.NewTicker(c.interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if _, err := c.controller.Reconcile(ctx, reconcile.Request{NamespacedName: c.name}); err != nil && ctx.Err() == nil {
				log.FromContext(ctx).Error(err, "checking the webhook's certificate failed")
			}
		}
	}
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (c *rotatorTicker) NeedLeaderElection() bool { return true }

// watch watches this one Secret with its own informer, because the manager's informer does not keep the values of Secrets.
func (c *certificate) watch(mgr ctrl.Manager) error {
	secrets, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(),
		Scheme:     mgr.GetScheme(),
		Mapper:     mgr.GetRESTMapper(),
		ByObject: map[client.Object]cache.ByObject{&corev1.Secret{}: {Namespaces: map[string]cache.Config{
			c.name.Namespace: {FieldSelector: fields.OneTermEqualSelector("metadata.name", c.name.Name)},
		}}},
	})
	if err != nil {
		return fmt.Errorf("creating the informer of the webhook's Secret: %w", err)
	}
	c.secrets = secrets
	if err := mgr.Add(allReplicas{secrets}); err != nil {
		return fmt.Errorf("adding the informer of the webhook's Secret: %w", err)
	}
	watcher, err := controller.New("webhook-certificate", mgr, controller.Options{
		Reconciler:         c,
		NeedLeaderElection: new(false),
		SkipNameValidation: new(true),
	})
	if err != nil {
		return fmt.Errorf("setting up the watch of the webhook's Secret: %w", err)
	}
	atStart := source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		queue.Add(reconcile.Request{NamespacedName: c.name}) // a missing Secret causes no event
		return nil
	})
	err = errors.Join(
		watcher.Watch(source.Kind(secrets, &corev1.Secret{}, &handler.TypedEnqueueRequestForObject[*corev1.Secret]{})),
		watcher.Watch(atStart),
	)
	if err != nil {
		return fmt.Errorf("watching the webhook's Secret: %w", err)
	}
	return nil
}

// allReplicas is a cache that is started in every replica. Otherwise only the leader would start a cache with options by object.
type allReplicas struct{ cache.Cache }

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (allReplicas) NeedLeaderElection() bool { return false }

// Reconcile loads a new certificate, and recreates a deleted Secret for the rotator.
func (c *certificate) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	secret := &corev1.Secret{}
	if err := c.secrets.Get(ctx, c.name, secret); apierrors.IsNotFound(err) {
		return reconcile.Result{}, c.create(ctx)
	} else if err != nil {
		return reconcile.Result{}, fmt.Errorf("reading the webhook's Secret: %w", err)
	}
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return reconcile.Result{}, nil //nolint:nilerr // the rotator will write a valid one; until then the last one is served
	}
	c.current.Store(&served{pair: pair, authority: secret.Data[caKey]})
	log.FromContext(ctx).Info("serving the webhook's certificate", "until", pair.Leaf.NotAfter)
	return reconcile.Result{}, nil
}

func (c *certificate) create(ctx context.Context) error {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: c.name.Namespace, Name: c.name.Name}}
	if err := c.writer.Create(ctx, secret, client.FieldOwner(fieldManager)); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating the webhook's Secret: %w", err)
	}
	return nil
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	current := c.current.Load()
	if current == nil {
		return nil, errNoCertificate
	}
	return &current.pair, nil
}

// ready reports whether the API server can call the webhook, because a client that waits for the operator creates a server next. A
// positive result is final.
func (c *certificate) ready(request *http.Request) error {
	current := c.current.Load()
	if current == nil {
		return errNoCertificate
	}
	if c.trusted.Load() {
		return nil
	}
	if missing := c.missing.Load(); missing != nil && c.now().Sub(*missing) < missingTTL {
		return nil
	}
	configuration := &admissionregistrationv1.ValidatingWebhookConfiguration{}
	err := c.live.Get(request.Context(), client.ObjectKey{Name: c.name.Name}, configuration)
	if apierrors.IsNotFound(err) { // it may be disabled, or created later
		now := c.now()
		c.missing.Store(&now)
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the ValidatingWebhookConfiguration: %w", err)
	}
	for _, hook := range configuration.Webhooks {
		if !bytes.Contains(hook.ClientConfig.CABundle, bytes.TrimSpace(current.authority)) {
			return errNotTrusted
		}
	}
	c.trusted.Store(true)
	return nil
}
