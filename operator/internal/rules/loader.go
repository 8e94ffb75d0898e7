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
	// quiet is how long nothing must have changed before a change is looked at, so that `kubectl apply -f DIRECTORY` is one.
	quiet = 100 * time.Millisecond
	// longest is how long a change waits for those after it. In force within two seconds is the promise.
	longest = 500 * time.Millisecond
	// buildTimeout bounds the compiling, testing and trying of one set.
	buildTimeout = 30 * time.Second
	// firstRetry and lastRetry are between the tries of what was refused. It may have been refused for a node that was busy.
	firstRetry = 15 * time.Second
	lastRetry  = 10 * time.Minute
)

// selector leaves out what belongs to a server. A patch of a spec can put any label on it, and so could make rules of it where
// servers run in the operator's namespace.
const selector = Label + "=" + LabelValue + ",!" + v1alpha1.ServerLabel

// Options say which rules are loaded, and what for.
type Options struct {
	// Namespace is the operator's own, the only one whose ConfigMaps count.
	Namespace string
	// Judge is told which policies are in force.
	Judge *judge.Judge
	// Policies are the options of every evaluator. Its Sources are not looked at.
	Policies policies.Options
	// Changed is called when answers may differ from those before: after the start, when other rules are in force, and when there
	// is another reason why none are. It must not block. May be nil.
	Changed func()
}

// Loader follows the ConfigMaps of rules and tells a Judge which policies are in force. It is a manager's Runnable, a readiness
// check, and a prometheus.Collector.
type Loader struct {
	options  Options
	informer cache.SharedIndexInformer
	events   events.EventRecorder
	elected  <-chan struct{}
	log      logr.Logger
	changes  chan struct{}
	decided  chan struct{} // closed when the first set is in force, or was refused
	report   report

	// These are of the goroutine of Start.
	inForce set    // nil: none is
	seen    string // the identity of what was looked at last, empty at the start
	refusal string // why no policies are in force
	told    map[string]telling
	leads   bool
	started bool // something was looked at
	retry   time.Duration
	again   *time.Timer // runs while retry is set, whatever else happens meanwhile
}

// New returns a Loader that is still to be added to its manager.
func New(mgr ctrl.Manager, options Options) (*Loader, error) {
	if options.Namespace == "" { // would mean all of them to the API server
		return nil, errors.New("loading the admin's rules: the operator's own namespace is not known")
	}
	kube, err := kubernetes.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	l := &Loader{
		options: options,
		informer: informers.NewFilteredConfigMapInformer(kube, options.Namespace, 0, nil, func(list *metav1.ListOptions) {
			list.LabelSelector = selector
		}),
		events:  mgr.GetEventRecorder("jupyter-server-operator"),
		elected: mgr.Elected(),
		log:     mgr.GetLogger().WithName("rules").WithValues("namespace", options.Namespace),
		changes: make(chan struct{}, 1),
		decided: make(chan struct{}),
		told:    map[string]telling{},
		again:   stopped(),
	}
	l.report.waitsFor = errors.New("the ConfigMaps were not listed yet")
	return l, nil
}

func stopped() *time.Timer {
	t := time.NewTimer(lastRetry)
	t.Stop()
	return t
}

// NeedLeaderElection is false: every replica's webhook asks the policies.
func (l *Loader) NeedLeaderElection() bool { return false }

// Ready is a healthz.Checker: a replica that does not know the rules yet is not to be asked.
func (l *Loader) Ready(*http.Request) error {
	select {
	case <-l.decided:
		return nil
	default:
		return l.notYet()
	}
}

func (l *Loader) notYet() error {
	return fmt.Errorf("the admin's rules in namespace %s are not loaded yet: %w", l.options.Namespace, l.report.reason())
}

// Start loads the rules until the context ends, and returns when nothing of it runs any more.
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
		default: // nobody is interested after the first list
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
	default: // it is woken already
	}
}

// waitForList waits for the first list, and says why there is none: a missing permission would otherwise stay in the log.
func (l *Loader) waitForList(ctx context.Context, failed <-chan error) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case err := <-failed:
			l.report.waitFor(err)
			l.options.Judge.UseNone(l.notYet())
		case <-l.informer.HasSyncedChecker().Done():
			return true
		}
	}
}

// follow looks at every change.
func (l *Loader) follow(ctx context.Context) error {
	defer l.again.Stop()
	for {
		elected := l.elected
		if l.leads {
			elected = nil
		}
		isRetry := false
		select {
		case <-ctx.Done():
			return nil
		case <-elected:
			l.lead()
			continue
		case <-l.again.C:
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
	end := time.NewTimer(longest)
	defer end.Stop()
	for {
		pause := time.NewTimer(quiet)
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

// load looks at what is there, and puts in force what can be. It does nothing when nothing changed, unless it is a retry. Its
// error ends the operator.
func (l *Loader) load(ctx context.Context, isRetry bool) error {
	present := l.present()
	identity := present.identity()
	if identity == l.seen && !isRetry {
		return nil
	}
	c := choice{build: l.build, inForce: l.inForce, present: present}
	out, err := c.choose(ctx)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // it ended because the operator does
	}
	if errors.Is(err, context.DeadlineExceeded) { // of the built-in policies themselves, so no set is in force: the node is busy
		l.postpone(fmt.Errorf("loading the policies took too long, it is tried again: %w", err))
		return nil
	}
	if err != nil {
		return fmt.Errorf("loading the policies: %w", err)
	}
	l.schedule(isRetry, len(out.refused)+len(out.kept) > 0)
	l.seen = identity
	news := l.put(out)
	l.lead()
	l.tell(present, out)
	if !l.started {
		l.started = true
		close(l.decided)
	}
	l.notify(news)
	return nil
}

// postpone has no policies in force until another try.
func (l *Loader) postpone(reason error) {
	l.schedule(false, true)
	l.report.waitFor(reason)
	l.notify(l.useNone(reason))
}

func (l *Loader) notify(news bool) {
	if news && l.options.Changed != nil {
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

// build makes an evaluator. What goes wrong in the compiler must not end the operator for all servers.
func (l *Loader) build(ctx context.Context, sources []policies.Source) (evaluator *policies.Evaluator, err error) {
	defer func() {
		if p := recover(); p != nil {
			l.log.Error(nil, "a panic while compiling rules", "panic", p, "stack", string(debug.Stack()))
			evaluator, err = nil, fmt.Errorf("compiling it failed: panic: %v", p)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	options := l.options.Policies
	options.Sources = sources
	evaluator, err = policies.New(ctx, options)
	if err != nil && ctx.Err() != nil { // the compiler does not say why it was stopped
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	var mistakes policies.SourceErrors
	if errors.As(err, &mistakes) {
		for _, m := range mistakes { // they go into events, conditions and logs
			m.Message = strings.Join(strings.Fields(m.Message), " ")
		}
	}
	return evaluator, err
}

// schedule says when what was refused is tried again without a change.
func (l *Loader) schedule(isRetry, refused bool) {
	switch {
	case !refused:
		l.retry = 0
	case isRetry:
		l.retry = min(2*l.retry, lastRetry)
	default:
		l.retry = firstRetry
	}
	if l.retry == 0 {
		l.again.Stop()
		return
	}
	l.again.Reset(l.retry)
}

// put tells the Judge what is in force from now on, and returns whether that is news.
func (l *Loader) put(out chosen) bool {
	if l.inForce == nil && len(out.refused) > 0 {
		return l.useNone(l.refuse(out))
	}
	if len(out.kept) > 0 {
		l.log.Info("deleted ConfigMaps stay in force, because others do not work without them", "configMaps", out.kept)
	}
	l.inForce = out.set
	if out.evaluator == nil {
		return false
	}
	l.refusal = ""
	l.options.Judge.Use(out.evaluator)
	digest := out.set.digest()
	l.report.use(digest)
	l.log.Info("rules are in force", "digest", digest, "configMaps", slices.Sorted(maps.Keys(out.set)))
	return true
}

// useNone tells the Judge why no policies are in force, and returns whether that is news.
func (l *Loader) useNone(reason error) bool {
	if reason.Error() == l.refusal {
		return false
	}
	l.refusal = reason.Error()
	l.options.Judge.UseNone(reason)
	l.log.Error(reason, "no policies are in force")
	return true
}

// maxMistakes is how many mistakes the reason says of why no policies are in force. Events have the others.
const maxMistakes = 5

// refuse says why no policies are in force.
func (l *Loader) refuse(out chosen) error {
	var mistakes policies.SourceErrors
	for _, name := range slices.Sorted(maps.Keys(out.refused)) {
		mistakes = append(mistakes, out.refused[name]...)
	}
	more := ""
	if n := len(mistakes) - maxMistakes; n > 0 {
		mistakes, more = mistakes[:maxMistakes], fmt.Sprintf("; and %d more", n)
	}
	return fmt.Errorf("the rules in ConfigMaps of namespace %s are refused, and nothing may change until they are mended: %w%s", l.options.Namespace, mistakes, more)
}
