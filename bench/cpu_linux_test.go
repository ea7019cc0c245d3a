package bench

import (
	"testing"
	"time"

	"kvexpress/internal/testutil/consultest"
)

// restTime is how long a fleet is watched without changes.
const restTime = 5 * time.Second

// spent is CPU time, and how long it took.
type spent struct{ nodes, consul, hub, wall time.Duration }

// cpu is the CPU time that all have used so far. A fleet and a hub may be missing.
func (r *running) cpu(server *consultest.Server) (s spent) {
	r.b.Helper()
	if r.fleet != nil {
		s.nodes = r.fleet.cpu()
	}
	s.consul = pidCPU(r.b, server.PID())
	if r.hub != nil {
		s.hub = pidCPU(r.b, r.hub.Cmd.Process.Pid)
	}
	return s
}

func (r *running) during(server *consultest.Server, f func()) spent {
	r.b.Helper()
	before, begun := r.cpu(server), time.Now()
	f()
	wall, after := time.Since(begun), r.cpu(server)
	return spent{after.nodes - before.nodes, after.consul - before.consul, after.hub - before.hub, wall}
}

func (s spent) plus(o spent) spent {
	return spent{s.nodes + o.nodes, s.consul + o.consul, s.hub + o.hub, s.wall + o.wall}
}

// used is the CPU time that f takes, less what all use at rest.
func (r *running) used(server *consultest.Server, f func()) spent {
	r.b.Helper()
	rest := r.during(server, func() { time.Sleep(restTime) })
	s := r.during(server, f)
	share := s.wall.Seconds() / rest.wall.Seconds()
	less := func(d, rest time.Duration) time.Duration { return max(0, d-time.Duration(float64(rest)*share)) }
	return spent{less(s.nodes, rest.nodes), less(s.consul, rest.consul), less(s.hub, rest.hub), s.wall}
}

func pidCPU(b *testing.B, pid int) time.Duration {
	b.Helper()
	d, err := processCPU(pid)
	if err != nil {
		b.Fatal(err)
	}
	return d
}
