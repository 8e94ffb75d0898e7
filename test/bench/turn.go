// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// driftedServers is the number of servers with drift.
const driftedServers = 100

// phaseTime is the timeout of a phase.
const phaseTime = 30 * time.Minute

// bench measures the program and the plain client.
type bench struct {
	program     string // the operator
	concurrency int
	recording   recording
	progress    func(format string, args ...any)
}

// world is a control plane with its driver and its measurement.
type world struct {
	*measurement
	bench   *bench
	servers int
	turn    *turn
}

// withControlPlane starts a control plane with the namespaces of the servers, calls do, and stops it.
func (b *bench) withControlPlane(ctx context.Context, l layout, servers int, do func(context.Context, *world) error) (*turn, error) {
	plane, err := startControlPlane()
	if err != nil {
		return nil, err
	}
	defer plane.stop()
	d, err := newDriver(plane.config, l, b.concurrency)
	if err != nil {
		return nil, err
	}
	if err := d.createNamespaces(ctx, servers); err != nil {
		return nil, err
	}
	w := &world{measurement: &measurement{plane: plane, driver: d}, bench: b, servers: servers, turn: &turn{}}
	return w.turn, do(ctx, w)
}

// record makes the operator install and update the sample server and records its writes.
func (b *bench) record(ctx context.Context) error {
	_, err := b.withControlPlane(ctx, layout{}, 0, func(ctx context.Context, w *world) error {
		proxy, err := startRecorder(ctx, w.plane.config, w.driver.layout.namespace(0))
		if err != nil {
			return err
		}
		defer proxy.stop()
		if err := w.startOperator(ctx, proxy.address); err != nil {
			return err
		}
		defer w.operator.stop()
		if b.recording.sample, err = w.install(ctx, 0); err != nil {
			return err
		}
		if b.recording.apply, err = proxy.take(); err != nil {
			return err
		}
		if err := w.settle(ctx, 0); err != nil {
			return err
		}
		if _, err := proxy.take(); err != nil { // the status of a running server
			return err
		}
		if err := w.until(ctx, 1, releasedAgain, nil, func(ctx context.Context) error { return w.driver.update(ctx, 0) }); err != nil {
			return err
		}
		b.recording.update, err = proxy.take()
		return err
	})
	return err
}

// startOperator starts the operator against an address of the API server.
func (w *world) startOperator(ctx context.Context, address string) error {
	config := rest.CopyConfig(w.plane.config)
	config.Host = address
	o, err := startOperator(ctx, w.bench.program, config, w.bench.concurrency)
	if err != nil {
		return err
	}
	w.operator = o
	return nil
}

// until calls do and waits for n matching servers.
func (w *world) until(ctx context.Context, n int, match func(client.Object) bool, seen func(int), do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, phaseTime)
	defer cancel()
	if seen == nil {
		seen = func(int) {}
	}
	return w.driver.until(ctx, &v1alpha1.JupyterServerList{}, n, match, seen, do)
}

// install waits until one server is released.
func (w *world) install(ctx context.Context, i int) (uid string, err error) {
	err = w.until(ctx, 1, released, nil, func(ctx context.Context) error {
		made, err := w.driver.create(ctx, i)
		uid = string(made)
		return err
	})
	return uid, err
}

// settle makes the pod of a server run and waits until the operator is idle.
func (w *world) settle(ctx context.Context, i int) error {
	if err := w.until(ctx, 1, running, nil, func(ctx context.Context) error { return w.driver.start(ctx, i) }); err != nil {
		return err
	}
	_, err := w.operator.waitIdle(ctx, 1)
	return err
}

// all returns a function that calls do with all servers.
func (w *world) all(do func(ctx context.Context, i int) error) func(context.Context) error {
	return func(ctx context.Context) error { return w.driver.each(ctx, w.servers, do) }
}

// operatorTurn is the operator's turn, with all phases.
func (b *bench) operatorTurn(ctx context.Context, l layout, servers int) (*turn, error) {
	return b.withControlPlane(ctx, l, servers, func(ctx context.Context, w *world) error {
		idle, err := w.plane.scrape(ctx)
		if err != nil {
			return err
		}
		if err := w.startOperator(ctx, w.plane.config.Host); err != nil {
			return err
		}
		defer func() { w.operator.stop() }() // a different one after the restart
		if err := w.warm(ctx); err != nil {
			return err
		}
		busy, err := w.plane.scrape(ctx)
		if err != nil {
			return err
		}
		w.turn.Watches = busy.watches() - idle.watches()
		for _, step := range []func(context.Context) error{w.apply, w.start, w.touch, w.update, w.restart, w.drift, w.remove} {
			if err := step(ctx); err != nil {
				return w.operator.withLog(err)
			}
		}
		return nil
	})
}

// warm makes the operator create the sample server, so that nothing is done for the first time, and waits until the machine is idle.
func (w *world) warm(ctx context.Context) error {
	if _, err := w.install(ctx, 0); err != nil {
		return err
	}
	if err := w.settle(ctx, 0); err != nil {
		return err
	}
	return w.plane.waitIdle(ctx)
}

// measure runs one phase. do returns the end of the phase, which may be earlier than its return.
func (w *world) measure(ctx context.Context, name string, servers int, do func(context.Context) (time.Time, error)) error {
	before, err := w.snapshot(ctx)
	if err != nil {
		return err
	}
	end, err := do(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return w.ended(ctx, name, servers, before, end)
}

func (w *world) ended(ctx context.Context, name string, servers int, before snapshot, end time.Time) error {
	after, err := w.snapshot(ctx)
	if err != nil {
		return err
	}
	p, err := w.between(name, servers, before, after, end)
	if err != nil {
		return err
	}
	w.turn.Phases = append(w.turn.Phases, p)
	w.bench.progress("    %s", p)
	return nil
}

// measureUntil runs a phase that ends when all servers match.
func (w *world) measureUntil(ctx context.Context, name string, match func(client.Object) bool, seen func(int), do func(ctx context.Context, i int) error) error {
	return w.measure(ctx, name, w.servers, func(ctx context.Context) (time.Time, error) {
		err := w.until(ctx, w.servers, match, seen, w.all(do))
		return time.Now(), err
	})
}

// measureUntilIdle runs a phase that ends when the operator has made at least as many reconciliations and is idle.
func (w *world) measureUntilIdle(ctx context.Context, name string, servers int, reconciles float64, do func(ctx context.Context) error) error {
	return w.measure(ctx, name, servers, func(ctx context.Context) (time.Time, error) {
		ctx, cancel := context.WithTimeout(ctx, phaseTime)
		defer cancel()
		now, err := w.operator.scrape(ctx)
		if err != nil {
			return time.Time{}, err
		}
		if err := do(ctx); err != nil {
			return time.Time{}, err
		}
		return w.operator.waitIdle(ctx, now.reconciles()+reconciles)
	})
}

func (w *world) apply(ctx context.Context) error {
	step := max(1, w.servers/20)
	seen := func(n int) {
		if now, _, err := w.operator.memory(); err == nil && n%step == 0 {
			w.turn.Memory = append(w.turn.Memory, memory{n, now})
		}
	}
	return w.measureUntil(ctx, applied, released, seen, func(ctx context.Context, i int) error {
		_, err := w.driver.create(ctx, i)
		return err
	})
}

func (w *world) start(ctx context.Context) error {
	return w.measureUntilIdle(ctx, started, w.servers, 1, func(ctx context.Context) error {
		return w.until(ctx, w.servers, running, nil, w.all(w.driver.start))
	})
}

func (w *world) touch(ctx context.Context) error {
	return w.measureUntilIdle(ctx, touched, w.servers, 1, w.all(w.driver.touch))
}

// update updates all servers and makes their pods run again. Only the time until they are released counts.
func (w *world) update(ctx context.Context) error {
	if err := w.measureUntil(ctx, updated, releasedAgain, nil, w.driver.update); err != nil {
		return err
	}
	if err := w.until(ctx, w.servers, running, nil, w.all(w.driver.start)); err != nil {
		return fmt.Errorf("starting the updated pods: %w", err)
	}
	_, err := w.operator.waitIdle(ctx, 1)
	return err
}

// restart kills the operator and starts it again.
func (w *world) restart(ctx context.Context) error {
	w.operator.stop()
	before, err := (&measurement{plane: w.plane, driver: w.driver}).snapshot(ctx)
	if err != nil {
		return err
	}
	if err := w.startOperator(ctx, w.plane.config.Host); err != nil {
		return err
	}
	ready := time.Since(before.at).Seconds()
	ctx, cancel := context.WithTimeout(ctx, phaseTime)
	defer cancel()
	end, err := w.operator.waitIdle(ctx, float64(w.servers))
	if err != nil {
		return err
	}
	if err := w.ended(ctx, restarted, w.servers, before, end); err != nil {
		return err
	}
	w.turn.phase(restarted).ReadySeconds = ready
	return nil
}

func (w *world) drift(ctx context.Context) error {
	n := min(driftedServers, w.servers)
	return w.measure(ctx, drifted, n, func(ctx context.Context) (time.Time, error) {
		ctx, cancel := context.WithTimeout(ctx, phaseTime)
		defer cancel()
		err := w.driver.until(ctx, &corev1.ServiceList{}, n, isRendered, func(int) {}, func(ctx context.Context) error {
			return w.driver.each(ctx, n, w.driver.introduceDrift)
		})
		return time.Now(), err
	})
}

// remove deletes all servers. Their objects stay, because there is no garbage collector.
func (w *world) remove(ctx context.Context) error {
	return w.measureUntilIdle(ctx, deleted, w.servers, float64(w.servers), w.all(w.driver.remove))
}

// plainTurn is the turn of the plain client. The driver watches the servers like in the operator's turn.
func (b *bench) plainTurn(ctx context.Context, l layout, servers int) (*turn, error) {
	return b.withControlPlane(ctx, l, servers, func(ctx context.Context, w *world) error {
		plain, err := newPlainClient(w.plane.config, b.recording, l, servers)
		if err != nil {
			return err
		}
		install := func(ctx context.Context, i int) error {
			uid, err := w.driver.create(ctx, i)
			if err != nil {
				return err
			}
			return plain.install(ctx, i, string(uid))
		}
		if err := install(ctx, 0); err != nil {
			return err
		}
		if err := w.plane.waitIdle(ctx); err != nil {
			return err
		}
		if err := w.measureUntil(ctx, applied, released, nil, install); err != nil {
			return err
		}
		return w.measureUntil(ctx, updated, releasedAgain, nil, func(ctx context.Context, i int) error {
			if err := w.driver.update(ctx, i); err != nil {
				return err
			}
			return plain.upgrade(ctx, i)
		})
	})
}
