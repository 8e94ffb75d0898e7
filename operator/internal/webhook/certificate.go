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
	"k8s.io/utils/ptr"
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
	// caKey is the rotator's key in the Secret for the certificate that the API server is told to trust.
	caKey = "ca.crt"
	// askAgain is how long it is remembered that there is no ValidatingWebhookConfiguration. Probes come oftener.
	askAgain = 30 * time.Second
	// defaultCheckInterval is how often the end of the certificate is looked at.
	defaultCheckInterval = 12 * time.Hour
)

var (
	errNoCertificate = errors.New("the webhook has no certificate yet")
	errNoController  = errors.New("the rotator of the webhook's certificate has no controller")
	errNotTrusted    = errors.New("the ValidatingWebhookConfiguration does not have the webhook's certificate authority yet")
)

// certificate serves what stands in the Secret. All replicas follow the Secret, and the one with the lease renews it. The
// certificate stays in memory: a mounted Secret would be a minute late.
type certificate struct {
	name    types.NamespacedName // of the Secret; the ValidatingWebhookConfiguration has the same
	writer  client.Writer
	live    client.Reader
	secrets client.Reader
	now     func() time.Time

	current atomic.Pointer[served]
	trusted atomic.Bool
	missing atomic.Pointer[time.Time] // when there was no ValidatingWebhookConfiguration
}

type served struct {
	pair      tls.Certificate
	authority []byte
}

// keepCertificate has the Secret kept and followed.
func keepCertificate(mgr ctrl.Manager, options Options) (*certificate, error) {
	if options.Service.Namespace == "" || options.Service.Name == "" {
		return nil, errService
	}
	c := &certificate{name: options.Service, writer: mgr.GetClient(), live: mgr.GetAPIReader(), now: time.Now}
	if err := c.follow(mgr); err != nil {
		return nil, err
	}
	if err := rotate(mgr, options); err != nil {
		return nil, err
	}
	return c, nil
}

// rotate has the rotator fill the Secret, renew what is in it, and tell the API server whom to trust.
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
	clock := &rotatorClock{controller: capture.controller, name: options.Service, interval: cmp.Or(options.checkInterval, defaultCheckInterval)}
	if err := mgr.Add(clock); err != nil {
		return fmt.Errorf("adding the clock of the webhook's certificate: %w", err)
	}
	return nil
}

// rotatorManager is the manager as the rotator sees it. The rotator's own loop is left out: it ends the process when the
// Secret is missing for a moment, waits for files of a mounted Secret, which there are none of, and leaves goroutines
// behind. Its controller does the same work whenever it looks at the Secret, and rotatorClock has it look.
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

// rotatorClock has the rotator look at the Secret from time to time: certificates end without an event.
type rotatorClock struct {
	controller reconcile.Reconciler
	name       types.NamespacedName
	interval   time.Duration
}

// Start implements manager.Runnable.
func (c *rotatorClock) Start(ctx context.Context) error {
	ticker := time.NewTicker(c.interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if _, err := c.controller.Reconcile(ctx, reconcile.Request{NamespacedName: c.name}); err != nil && ctx.Err() == nil {
				log.FromContext(ctx).Error(err, "the webhook's certificate could not be looked at")
			}
		}
	}
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (c *rotatorClock) NeedLeaderElection() bool { return true }

// follow looks at this one Secret, with an informer of its own: that of the manager knows no values of Secrets.
func (c *certificate) follow(mgr ctrl.Manager) error {
	secrets, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(),
		Scheme:     mgr.GetScheme(),
		Mapper:     mgr.GetRESTMapper(),
		ByObject: map[client.Object]cache.ByObject{&corev1.Secret{}: {Namespaces: map[string]cache.Config{
			c.name.Namespace: {FieldSelector: fields.OneTermEqualSelector("metadata.name", c.name.Name)},
		}}},
	})
	if err != nil {
		return fmt.Errorf("making the informer of the webhook's Secret: %w", err)
	}
	c.secrets = secrets
	if err := mgr.Add(everywhere{secrets}); err != nil {
		return fmt.Errorf("adding the informer of the webhook's Secret: %w", err)
	}
	follower, err := controller.New("webhook-certificate", mgr, controller.Options{
		Reconciler:         c,
		NeedLeaderElection: ptr.To(false),
		SkipNameValidation: ptr.To(true),
	})
	if err != nil {
		return fmt.Errorf("setting up the follower of the webhook's Secret: %w", err)
	}
	atStart := source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		queue.Add(reconcile.Request{NamespacedName: c.name}) // a Secret that is not there gives no event
		return nil
	})
	err = errors.Join(
		follower.Watch(source.Kind(secrets, &corev1.Secret{}, &handler.TypedEnqueueRequestForObject[*corev1.Secret]{})),
		follower.Watch(atStart),
	)
	if err != nil {
		return fmt.Errorf("watching the webhook's Secret: %w", err)
	}
	return nil
}

// everywhere is a cache that is started in every replica. A cache with selectors would be in that with the lease alone.
type everywhere struct{ cache.Cache }

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (everywhere) NeedLeaderElection() bool { return false }

// Reconcile takes up a new certificate, and makes the Secret anew for the rotator when somebody deleted it.
func (c *certificate) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	secret := &corev1.Secret{}
	if err := c.secrets.Get(ctx, c.name, secret); apierrors.IsNotFound(err) {
		return reconcile.Result{}, c.create(ctx)
	} else if err != nil {
		return reconcile.Result{}, fmt.Errorf("reading the webhook's Secret: %w", err)
	}
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return reconcile.Result{}, nil //nolint:nilerr // the rotator will write one that can be used; until then the last one is served
	}
	c.current.Store(&served{pair: pair, authority: secret.Data[caKey]})
	log.FromContext(ctx).Info("serving the webhook's certificate", "until", pair.Leaf.NotAfter)
	return reconcile.Result{}, nil
}

func (c *certificate) create(ctx context.Context) error {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: c.name.Namespace, Name: c.name.Name}}
	if err := c.writer.Create(ctx, secret, client.FieldOwner(fieldManager)); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("making the webhook's Secret: %w", err)
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

// ready says whether the API server could ask: whoever waits for the operator wants to make a server next. Once it was so,
// it is not looked at again.
func (c *certificate) ready(request *http.Request) error {
	current := c.current.Load()
	if current == nil {
		return errNoCertificate
	}
	if c.trusted.Load() {
		return nil
	}
	if missing := c.missing.Load(); missing != nil && c.now().Sub(*missing) < askAgain {
		return nil
	}
	configuration := &admissionregistrationv1.ValidatingWebhookConfiguration{}
	err := c.live.Get(request.Context(), client.ObjectKey{Name: c.name.Name}, configuration)
	if apierrors.IsNotFound(err) { // the admin wants none, or makes it later
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
