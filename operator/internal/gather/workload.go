// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/singleflight"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/pager"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/diagnosis"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/reconcile"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/release/objects"
)

const (
	eventDelay  = 3 * time.Second  // how long a start may take before its events are read: one that goes well needs no answer
	eventsLife  = 5 * time.Second  // how old the events may be that a diagnosis looks at
	longestLook = 30 * time.Second // the longest time between two looks at a server that does not start
)

// findWorkload reads the StatefulSet and the pod from the informers. Objects of other owners that merely share their names are
// ignored.
func (l *look) findWorkload(ctx context.Context) error {
	set, err := get(ctx, l.Cached, l.server.Namespace, l.server.Name, &appsv1.StatefulSet{})
	if err != nil {
		return err
	}
	pod, err := get(ctx, l.Cached, l.server.Namespace, l.server.Name+"-0", &corev1.Pod{})
	if err != nil {
		return err
	}
	if pod != nil && isPodOf(l.ref.Ref, set, pod) {
		l.PodObject, l.involved = pod, append(l.involved, pod.UID)
	}
	switch {
	case set == nil:
		l.Set = reconcile.SetAbsent
	case !l.ref.OwnsSet(set):
		l.Set, set = reconcile.SetForeign, nil
	case diagnosis.IsScaledToZero(set):
		l.Set = reconcile.SetStopped
	default:
		l.Set = reconcile.SetScaled
	}
	if set != nil {
		l.StatefulSet, l.reads, l.involved = set, objects.ReadKeys(set), append(l.involved, set.UID)
	}
	l.lags = l.Current != nil && l.Releases.Lags(l.ref, l.writes, set)
	l.Pod = podFacts(set, l.PodObject, l.lags)
	return nil
}

// podFacts returns what a pod tells. Lags reports whether the informers may not show the newest StatefulSet.
func podFacts(set *appsv1.StatefulSet, pod *corev1.Pod, lags bool) reconcile.Pod {
	if pod == nil {
		return reconcile.Pod{}
	}
	stays := pod.DeletionTimestamp == nil
	jupyter := jupyterOf(pod)
	facts := reconcile.Pod{
		Ready:   stays && IsReady(pod),
		Current: IsObserved(set) && pod.Labels[appsv1.ControllerRevisionHashLabelKey] == set.Status.UpdateRevision && !lags,
		Status:  &v1alpha1.PodStatus{Name: pod.Name, Ready: stays && IsReady(pod), Restarts: jupyter.RestartCount},
	}
	if running := jupyter.State.Running; running != nil {
		facts.StartedAt, facts.Runs = &running.StartedAt, stays
	}
	return facts
}

// isPodOf reports whether a pod belongs to the StatefulSet of a server, or to an earlier one. An orphan with a revision label
// counts: the StatefulSet adopts it.
func isPodOf(ref objects.Ref, set *appsv1.StatefulSet, pod client.Object) bool {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return pod.GetLabels()[appsv1.ControllerRevisionHashLabelKey] != ""
	}
	isForeign := set != nil && set.UID == owner.UID && !ref.OwnsSet(set)
	return objects.IsSet(*owner, ref.Name) && !isForeign
}

// IsReady reports whether a pod is ready.
func IsReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// jupyterOf returns the status of the container that Jupyter runs in. It is empty before the kubelet reports it.
func jupyterOf(pod *corev1.Pod) corev1.ContainerStatus {
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name == diagnosis.JupyterContainer {
			return status
		}
	}
	return corev1.ContainerStatus{}
}

// MayHoldKernels reports whether Jupyter runs in a pod, ready or not. Before it has passed its startup probe it has never
// answered, so it has no kernels.
func MayHoldKernels(pod *corev1.Pod) bool {
	jupyter := jupyterOf(pod)
	return jupyter.State.Running != nil && ptr.Deref(jupyter.Started, true)
}

// IsObserved reports whether the StatefulSet controller has seen what was applied last.
func IsObserved(set *appsv1.StatefulSet) bool {
	return set != nil && set.Status.ObservedGeneration >= set.Generation
}

// findTrouble finds out why the pod of a server that is to run does not, or what is wrong with its provider.
func (l *look) findTrouble(ctx context.Context) error {
	if l.Current == nil || l.Intent.Stop {
		return nil
	}
	answer := l.askAccess(ctx)
	if !l.Pod.Ready || !l.Pod.Current {
		l.memo.access = lastAccess{} // what follows is another run
		return l.diagnose(ctx, answer)
	}
	if l.server.Spec.Auth.Mode != v1alpha1.AuthModeOIDC {
		return nil
	}
	l.LookAgain = l.memo.access.after(answer)
	if finding, found := diagnosis.ProviderTrouble(l.memo.access.said); found {
		l.Pod.Finding = &finding
	}
	return nil
}

// diagnose looks for the root cause, unless the pod has not had the time to start.
func (l *look) diagnose(ctx context.Context, answer *diagnosis.Access) error {
	if l.Problem != nil && l.StatefulSet == nil {
		return nil // nothing creates a pod
	}
	if l.lags {
		return nil // the pod is one that was replaced just now
	}
	now := l.Clock.Now()
	unready := now.Sub(unreadySince(l.server, now))
	if l.PodObject == nil && unready < eventDelay {
		l.LookAgain = eventDelay
		return nil
	}
	l.LookAgain = min(max(unready/2, eventDelay), longestLook)
	seen := diagnosis.Observation{Now: now, StatefulSet: l.StatefulSet, Pod: l.PodObject, Access: answer}
	if err := l.observe(ctx, &seen, unready); err != nil {
		return err
	}
	if finding, found := diagnosis.Diagnose(seen); found {
		l.Pod.Finding = &finding
		l.LookAgain = release.Soonest(l.LookAgain, finding.Recheck)
	}
	return nil
}

// observe reads the claim, and what only the API server knows: after a moment the events, and whose the pod of the name is. Without
// an answer of the API server the cause stays unknown for now, which holds up nothing else.
func (l *look) observe(ctx context.Context, seen *diagnosis.Observation, unready time.Duration) (err error) {
	if storage := l.server.Spec.Storage; !storage.Ephemeral {
		seen.Claim, err = get(ctx, l.Cached, l.server.Namespace, cmp.Or(storage.ExistingClaim, l.server.Name), &corev1.PersistentVolumeClaim{})
	}
	if err != nil {
		return err
	}
	if seen.Claim != nil {
		l.involved = append(l.involved, seen.Claim.UID)
	}
	waitsForPod := l.PodObject == nil && IsObserved(l.StatefulSet)
	if unready >= eventDelay && (l.PodObject != nil || waitsForPod) {
		seen.Events, err = l.Events.about(ctx, l.server.Namespace, l.involved...)
	}
	if err == nil && waitsForPod && l.Set == reconcile.SetScaled {
		seen.NameTakenBy, err = l.ownerOfPodName(ctx)
	}
	if err != nil {
		log.FromContext(ctx).V(1).Info("Looking for the cause failed", "error", err.Error())
	}
	return nil
}

// failing is since when the pod of a revision fails, and why it cannot be rolled back, if that was tried.
type failing struct {
	revision   int
	since      time.Time
	noRollback string
}

// findFailing tells for how long the current revision has been failing for a reason that a rollback can fix. It needs the finding.
func (l *look) findFailing() {
	fails := !l.Pod.Ready && (l.PodObject == nil || l.Pod.Current) && reconcile.FixedByRollback(l.Pod.Finding)
	if !fails || !l.CanRollBack() {
		l.memo.failing = failing{}
		return
	}
	if l.memo.failing.revision != l.Current.Revision {
		l.memo.failing = failing{revision: l.Current.Revision, since: l.Clock.Now()}
	}
	l.Pod.Failing, l.Pod.FailingFor, l.NoRollback = true, l.Clock.Since(l.memo.failing.since), l.memo.failing.noRollback
	l.LookAgain = release.Soonest(l.LookAgain, max(0, l.Upgrades.RollbackAfter-l.Pod.FailingFor))
}

// unreadySince returns when the server stopped being ready, or was created.
func unreadySince(server *v1alpha1.JupyterServer, now time.Time) time.Time {
	ready := meta.FindStatusCondition(server.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case len(server.Status.Conditions) == 0:
		return server.CreationTimestamp.Time
	case ready == nil || ready.Status == metav1.ConditionTrue:
		return now
	}
	return ready.LastTransitionTime.Time
}

// ownerOfPodName asks the API server which other owner's pod has the name of the server's: the informers hold only labelled
// pods. It returns "" if there is none.
func (l *look) ownerOfPodName(ctx context.Context) (string, error) {
	pod, err := get(ctx, l.Live, l.server.Namespace, l.server.Name+"-0", metadata("Pod"))
	if pod == nil || isPodOf(l.ref.Ref, l.StatefulSet, pod) {
		return "", err
	}
	if owner := metav1.GetControllerOf(pod); owner != nil {
		return "the " + owner.Kind + " " + owner.Name, nil
	}
	return "no controller", nil
}

const (
	opsPort       = "3001"          // where the authorization service reports on the access control (postrender/templates/pod.yaml)
	accessTimeout = 2 * time.Second // of a whole answer: a pod must not hold up the operator
	accessLimit   = 64 << 10        // the most bytes of an answer

	// A server that works is asked again after lookAtAccess, because no event tells that a provider is down. One whose provider
	// is in trouble, or that missed an answer, is asked again after lookAtTrouble. One that is ready and missed several is
	// behind a network that blocks the operator: waiting for many of these would hold up the others.
	lookAtAccess  = time.Minute
	lookAtTrouble = 20 * time.Second
	lookAtSilence = 10 * time.Minute
	oftenMissed   = 3
)

// NewAccessClient returns the client that asks pods. It follows no redirect and uses no proxy.
func NewAccessClient() *http.Client {
	return &http.Client{
		Timeout: accessTimeout,
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: 500 * time.Millisecond}).DialContext,
			MaxResponseHeaderBytes: accessLimit,
			DisableKeepAlives:      true, // one connection for each pod of a cluster would be too many
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// askAccess asks the access control of a running pod how it is. It returns nil without an answer: the pod may be starting, or a
// NetworkPolicy blocks the operator.
func (l *look) askAccess(ctx context.Context) *diagnosis.Access {
	pod, access := l.PodObject, &diagnosis.Access{}
	if l.server.Spec.Auth.Mode != v1alpha1.AuthModeOIDC || pod == nil || pod.Status.PodIP == "" || pod.DeletionTimestamp != nil {
		return nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(pod.Status.PodIP, opsPort)+"/readyz", nil)
	if err != nil {
		return nil
	}
	response, err := l.Access.Do(request)
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	isAnswer := response.StatusCode == http.StatusOK || response.StatusCode == http.StatusServiceUnavailable
	if !isAnswer || json.NewDecoder(io.LimitReader(response.Body, accessLimit)).Decode(access) != nil {
		return nil
	}
	return access
}

// lastAccess is the last answer of a server's access control, and how many it has missed since.
type lastAccess struct {
	said   *diagnosis.Access // nil: nothing yet
	missed int
}

// after notes an answer, or a missed one, and returns when to ask a ready server again, with jitter because a provider has many
// servers.
func (a *lastAccess) after(answer *diagnosis.Access) time.Duration {
	next := lookAtAccess
	a.missed++
	if answer != nil {
		*a = lastAccess{said: answer}
	}
	switch {
	case a.missed >= oftenMissed:
		next = lookAtSilence
	case a.missed > 0 || !a.said.Provider.OK:
		next = lookAtTrouble
	}
	return wait.Jitter(next, 0.2)
}

// Events reads the events of namespaces in which servers start. An informer of all events of a cluster would cost more than it
// gives. The API server reads all events of a namespace to find those of one object, so all servers of a namespace share one read.
type Events struct {
	live  client.Reader
	known *cache.Expiring // by namespace: the events by the UID of their object
	reads singleflight.Group
}

// NewEvents returns an Events that reads from the API server.
func NewEvents(live client.Reader, clk clock.Clock) *Events {
	return &Events{live: live, known: cache.NewExpiringWithClock(clk)}
}

// about returns the events about some objects of a namespace.
func (e *Events) about(ctx context.Context, namespace string, uids ...types.UID) (found []corev1.Event, err error) {
	shared, err, _ := e.reads.Do(namespace, func() (any, error) {
		if known, ok := e.known.Get(namespace); ok {
			return known, nil
		}
		about := map[types.UID][]corev1.Event{}
		pages := pager.New(func(ctx context.Context, page metav1.ListOptions) (runtime.Object, error) {
			list := &corev1.EventList{}
			return list, e.live.List(ctx, list, &client.ListOptions{Namespace: namespace, Limit: page.Limit, Continue: page.Continue})
		})
		err := pages.EachListItem(ctx, metav1.ListOptions{}, func(o runtime.Object) error {
			if event, ok := o.(*corev1.Event); ok {
				event.ManagedFields = nil
				about[event.InvolvedObject.UID] = append(about[event.InvolvedObject.UID], *event)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("listing events: %w", err)
		}
		e.known.Set(namespace, about, eventsLife)
		return about, nil
	})
	if about, ok := shared.(map[types.UID][]corev1.Event); ok {
		for _, uid := range uids {
			found = append(found, about[uid]...)
		}
	}
	return found, err
}

// StripPod is the transform of the informer of pods. It drops what a diagnosis does not look at.
func StripPod(in any) (any, error) {
	pod, ok := in.(*corev1.Pod)
	if !ok {
		return in, nil
	}
	diagnosis.Strip(pod)
	pod.ManagedFields, pod.Annotations = nil, nil
	maps.DeleteFunc(pod.Labels, func(label, _ string) bool {
		return label != v1alpha1.ServerLabel && label != appsv1.ControllerRevisionHashLabelKey
	})
	return pod, nil
}
