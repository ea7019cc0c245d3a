package disk_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"
)

// kill -9 at random times, again and again on the same folder. Acknowledged batches are there, and no partial ones.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	dir, have, inFlight := t.TempDir(), uint64(0), 0
	rounds := times(300)
	for round := range rounds {
		child := job{Dir: dir}.command(t)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines, last, kill := bufio.NewScanner(out), uint64(0), 1+rand.IntN(30)
		for i := 0; lines.Scan(); i++ {
			var what string
			if _, err := fmt.Sscan(lines.Text(), &what, &last); err != nil || what != "ack" && what != "open" {
				t.Fatalf("round %d: it says %q", round, lines.Text())
			}
			if i == kill {
				<-time.After(time.Duration(rand.IntN(2000)) * time.Microsecond) // somewhere within a write
				if err := child.Process.Signal(syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = child.Wait() // killed
		if last < have {
			t.Fatalf("round %d: it began with %d batches, and there were %d", round, last, have)
		}
		if have = holds(t, dir, last); have > last {
			inFlight++
		}
	}
	t.Logf("%d batches in %d rounds; %d times the write that was cut off was there", have, rounds, inFlight)
}

// A second process is refused. The lock ends with the process.
func TestSecondProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	child := job{Dir: dir, Hold: true}.command(t)
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "open 0\n" {
		t.Fatalf("it says %q, %v", line, err)
	}
	lines, _ := job{Dir: dir, Batches: 1}.says(t)
	for _, want := range []string{"failed " + dir, "in use", "another folder"} {
		if !strings.Contains(lines[0], want) {
			t.Errorf("the second does not say %q: %q", want, lines)
		}
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // killed
	if lines, _ := (job{Dir: dir, Batches: 1}.says(t)); acked(lines) != 1 {
		t.Errorf("after its end: %q", lines)
	}
}
