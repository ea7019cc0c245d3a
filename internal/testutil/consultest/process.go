package consultest

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// process is one run of an agent. Its goroutine ends with the process.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended and was waited for
}

// startProcess runs bin with its output appended to the file log.
func startProcess(bin string, args, env []string, dir, log string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }() // the child has its own
	// Not CommandContext: the agent outlives the contexts of its test, whose
	// clean-ups may still need it.
	cmd := exec.Command(bin, args...)
	cmd.Env, cmd.Dir = env, dir
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", bin, err)
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // a killed agent is an error here, and often wanted
	}()
	return p, nil
}

// end sends sig and waits. What does not end in time is killed.
func (p *process) end(sig os.Signal) {
	_ = p.cmd.Process.Signal(sig) // it may have ended by itself
	timer := time.NewTimer(15 * time.Second)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// agentEnv is environ without what would change how Consul's commands behave,
// and with extra.
func agentEnv(environ, extra []string) []string {
	var env []string
	for _, pair := range environ {
		if !strings.HasPrefix(pair, "CONSUL_") {
			env = append(env, pair)
		}
	}
	return append(env, extra...)
}
