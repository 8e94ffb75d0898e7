// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	informers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/judge"
	"github.com/jupyterserver/jupyter-server-operator/policies"
)

const (
	// quietPeriod is how long no change must have happened before loading, so that `kubectl apply -f DIRECTORY` is one change.
	quietPeriod = 100 * time.Millisecond
	// maxDelay is how long a change waits for later ones. Changes are promised to be in force within two seconds.
	maxDelay = 500 * time.Millisecond
	// buildTimeout bounds compiling, testing and trying one set.
	buildTimeout = 30 * time.Second
	// firstRetry and lastRetry bound the interval of retries after a rejection, which a busy node may have caused.
	firstRetry = 15 * time.Second
	lastRetry  = 10 * time.Minute
)

// selector excludes objects of servers. A patch in a spec can set any label, and could otherwise create rules if servers run in the
// operator's namespace.
const selector = Label + "=" + LabelValue + ",!" + v1alpha1.ServerLabel

// Options configure a Loader.
type Options struct {
	// Namespace is the operator's own namespace, the only one whose ConfigMaps are loaded.
	Namespace string
	// Judge receives the policies in force.
	Judge *judge.Judge
	// Policies are the options of every evaluator. Sources is ignored.
	Policies policies.Options
	// Changed is called when verdicts may differ from earlier ones: after the start, when other rules are in force, and when the
	// reason for having none changes. It must not block. It may be nil.
	Changed func()
}

// Loader watches the ConfigMaps of rules and gives a Judge the policies in force. It is a manager's Runnable, a readiness check, and
// a prometheus.Collector.
type Loader struct {
	options  Options
	informer cache.SharedIndexInformer
	events   events.EventRecorder
	elected  <-chan struct{}
	log      logr.Logger
	changes  chan struct{}
	loaded   chan struct{} // closed when the first set is in force or rejected
	report   report

	// The fields below belong to the goroutine of Start.
	inForce    set    // nil if none is
	seen       string // identity of the last loaded set, empty at the start
	noneReason string // the reason why no policies are in force
	notices    map[string]notice
	leading    bool
	started    bool // a set was loaded or rejected
	retry      time.Duration
	retryTimer *time.Timer // runs while retry is set, regardless of changes
}

// New returns a Loader, which the caller adds to its manager.
func New(mgr ctrl.Manager, options Options) (*Loader, error) {
	if options.Namespace == "" { // means all namespaces to the API server
		return nil, errors.New("loading custom rules: the namespace of the operator is not set")
	}
	kube, err := kubernetes.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("creating a client: %w", err)
	}
	l := &Loader{
		options: options,
		informer: informers.NewFilteredConfigMapInformer(kube, options.Namespace, 0, nil, func(list *metav1.ListOptions) {
			list.LabelSelector = selector
		}),
		events:     mgr.GetEventRecorder("jupyter-server-operator"),
		elected:    mgr.Elected(),
		log:        mgr.GetLogger().WithName("rules").WithValues("namespace", options.Namespace),
		changes:    make(chan struct{}, 1),
		loaded:     make(chan struct{}),
		notices:    map[string]notice{},
		retryTimer: stoppedTimer(),
	}
	l.report.pending = errors.New("the ConfigMaps have not been listed yet")
	return l, nil
}

func stoppedTimer() *time.Timer {
	t := time.NewTimer(lastRetry)
	t.Stop()
	return t
}

// NeedLeaderElection returns false: every replica's webhook evaluates the policies.
func (l *Loader) NeedLeaderElection() bool { return false }

// Ready is a healthz.Checker. A replica without rules must not receive requests.
func (l *Loader) Ready(*http.Request) error {
	select {
	case <-l.loaded:
		return nil
	default:
		return l.notLoaded()
	}
}

func (l *Loader) notLoaded() error {
	return fmt.Errorf("the custom rules in namespace %s are not loaded yet: %w", l.options.Namespace, l.report.reason())
}

// Start loads the rules until the context ends, and returns when all its goroutines have ended.
func (l *Loader) Start(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()

	failed := make(chan error, 1)
	if err := l.prepare(failed); err != nil {
		return err
	}
	running.Go(func() { l.informer.RunWithContext(ctx) })
	if !l.waitForList(ctx, failed) {
		return nil
	}
	if err := l.load(ctx, false); err != nil {
		return err
	}
	return l.follow(ctx)
}

func (l *Loader) prepare(failed chan<- error) error {
	err := l.informer.SetTransform(ctrlcache.TransformStripManagedFields())
	if err != nil {
		return fmt.Errorf("preparing the informer of rules: %w", err)
	}
	err = l.informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, r *cache.Reflector, err error) {
		cache.DefaultWatchErrorHandler(ctx, r, err)
		select {
		case failed <- err:
		default: // only the first list waits for it
		}
	})
	if err != nil {
		return fmt.Errorf("preparing the informer of rules: %w", err)
	}
	_, err = l.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { l.wake() },
		UpdateFunc: func(any, any) { l.wake() },
		DeleteFunc: func(any) { l.wake() },
	})
	if err != nil {
		return fmt.Errorf("preparing the informer of rules: %w", err)
	}
	return nil
}

func (l *Loader) wake() {
	select {
	case l.changes <- struct{}{}:
	default: // a change is pending already
	}
}

// waitForList waits for the first list, and reports errors meanwhile: a missing permission would otherwise show only in the log.
func (l *Loader) waitForList(ctx context.Context, failed <-chan error) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case err := <-failed:
			l.report.setPending(err)
			l.options.Judge.UseNone(l.notLoaded())
		case <-l.informer.HasSyncedChecker().Done():
			return true
		}
	}
}

// follow loads every change.
func (l *Loader) follow(ctx context.Context) error {
	defer l.retryTimer.Stop()
	for {
		elected := l.elected
		if l.leading {
			elected = nil
		}
		isRetry := false
		select {
		case <-ctx.Done():
			return nil
		case <-elected:
			l.lead()
			continue
		case <-l.retryTimer.C:
			isRetry = true
		case <-l.changes:
			l.waitForQuiet(ctx)
		}
		if err := l.load(ctx, isRetry); err != nil {
			return err
		}
	}
}

func (l *Loader) waitForQuiet(ctx context.Context) {
	end := time.NewTimer(maxDelay)
	defer end.Stop()
	for {
		pause := time.NewTimer(quietPeriod)
		select {
		case <-ctx.Done():
		case <-end.C:
		case <-pause.C:
		case <-l.changes:
			pause.Stop()
			continue
		}
		pause.Stop()
		return
	}
}

// load resolves the present ConfigMaps and activates the result. It does nothing if nothing changed, unless it is a retry. Its
// error ends the operator.
func (l *Loader) load(ctx context.Context, isRetry bool) error {
	present := l.present()
	identity := present.identity()
	if identity == l.seen && !isRetry {
		return nil
	}
	r := resolver{build: l.build, inForce: l.inForce, present: present}
	out, err := r.resolve(ctx)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the operator is stopping
	}
	if errors.Is(err, context.DeadlineExceeded) { // even the built-in policies timed out, so no set is in force: the node is busy
		l.postpone(fmt.Errorf("loading the policies timed out and is retried: %w", err))
		return nil
	}
	if err != nil {
		return fmt.Errorf("loading the policies: %w", err)
	}
	l.schedule(isRetry, len(out.rejected)+len(out.kept) > 0)
	l.seen = identity
	changed := l.activate(out)
	l.lead()
	l.publish(present, out)
	if !l.started {
		l.started = true
		close(l.loaded)
	}
	l.notify(changed)
	return nil
}

// postpone puts no policies in force until the next retry.
func (l *Loader) postpone(reason error) {
	l.schedule(false, true)
	l.report.setPending(reason)
	l.notify(l.deactivate(reason))
}

func (l *Loader) notify(changed bool) {
	if changed && l.options.Changed != nil {
		l.options.Changed()
	}
}

func (l *Loader) present() set {
	s := set{}
	for _, item := range l.informer.GetStore().List() {
		if c, ok := item.(*corev1.ConfigMap); ok {
			s[c.Name] = versionOf(c)
		}
	}
	return s
}

// build creates an evaluator. A panic of the compiler must not end the operator for all servers.
func (l *Loader) build(ctx context.Context, sources []policies.Source) (evaluator *policies.Evaluator, err error) {
	defer func() {
		if p := recover(); p != nil {
			l.log.Error(nil, "panic while compiling rules", "panic", p, "stack", string(debug.Stack()))
			evaluator, err = nil, fmt.Errorf("compiling failed: panic: %v", p)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	options := l.options.Policies
	options.Sources = sources
	evaluator, err = policies.New(ctx, options)
	if err != nil && ctx.Err() != nil { // the compiler's error lacks the cause
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	if mistakes, ok := errors.AsType[policies.SourceErrors](err); ok {
		for _, m := range mistakes { // for events, conditions and logs
			m.Message = strings.Join(strings.Fields(m.Message), " ")
		}
	}
	return evaluator, err
}

// schedule sets when a rejection is retried without a change.
func (l *Loader) schedule(isRetry, rejected bool) {
	switch {
	case !rejected:
		l.retry = 0
	case isRetry:
		l.retry = min(2*l.retry, lastRetry)
	default:
		l.retry = firstRetry
	}
	if l.retry == 0 {
		l.retryTimer.Stop()
		return
	}
	l.retryTimer.Reset(l.retry)
}

// activate gives the Judge the resolved policies, and reports whether they changed.
func (l *Loader) activate(out resolution) bool {
	if l.inForce == nil && len(out.rejected) > 0 {
		return l.deactivate(l.rejection(out))
	}
	if len(out.kept) > 0 {
		l.log.Info("keeping the rules of deleted ConfigMaps in force, because others depend on them", "configMaps", out.kept)
	}
	l.inForce = out.set
	if out.evaluator == nil {
		return false
	}
	l.noneReason = ""
	l.options.Judge.Use(out.evaluator)
	digest := out.set.digest()
	l.report.use(digest)
	l.log.Info("rules are in force", "digest", digest, "configMaps", slices.Sorted(maps.Keys(out.set)))
	return true
}

// deactivate gives the Judge the reason why no policies are in force, and reports whether it changed.
func (l *Loader) deactivate(reason error) bool {
	if reason.Error() == l.noneReason {
		return false
	}
	l.noneReason = reason.Error()
	l.options.Judge.UseNone(reason)
	l.log.Error(reason, "no policies are in force")
	return true
}

// maxMistakes limits the errors in the reason why no policies are in force. Events contain the others.
const maxMistakes = 5

// rejection returns the reason why no policies are in force.
func (l *Loader) rejection(out resolution) error {
	var mistakes policies.SourceErrors
	for _, name := range slices.Sorted(maps.Keys(out.rejected)) {
		mistakes = append(mistakes, out.rejected[name]...)
	}
	more := ""
	if n := len(mistakes) - maxMistakes; n > 0 {
		mistakes, more = mistakes[:maxMistakes], fmt.Sprintf("; and %d more", n)
	}
	return fmt.Errorf("the rules in ConfigMaps of namespace %s are rejected, and no server is changed until they are fixed: %w%s", l.options.Namespace, mistakes, more)
}
