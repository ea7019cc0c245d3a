package local

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

func (j *journal) setFail(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.fail = err
}

// A session whose time ends while the disk is full ends once there is room, and lets go of what it holds.
func TestSessionDiesOnceThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		e := open(t, j)
		defer func() { _ = e.Close() }()
		ctx := context.Background()
		id, err := e.CreateSession(ctx, Session{TTL: "10s"})
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := e.Apply(ctx, Op{Verb: Lock, Path: "a", Session: id}); err != nil || !ok {
			t.Fatal(ok, err)
		}
		j.setFail(fmt.Errorf("%w: the disk is full", ErrNotWritten))
		<-time.After(25 * time.Second)
		synctest.Wait()
		if e.View().Session(id) == nil {
			t.Fatal("it has ended though nothing could be written")
		}
		j.setFail(nil)
		<-time.After(time.Minute)
		synctest.Wait()
		if e.View().Session(id) != nil || e.View().Get("a").Session != "" {
			t.Errorf("there is room, and it lives: %+v", e.View().Get("a"))
		}
	})
}

// A Close whose batch found no room closes all the same.
func TestCloseOnFullDisk(t *testing.T) {
	j := &journal{begun: make(chan struct{}), hold: make(chan struct{})}
	e := open(t, j)
	results := make(chan error, 2)
	go func() { results <- apply(e, "a") }()
	<-j.begun // the first batch is under way
	go func() { results <- apply(e, "b") }()
	queued(e, 1)
	closed := make(chan error)
	go func() { closed <- e.Close() }()
	queued(e, 2)
	j.hold <- struct{}{}
	<-j.begun // the second one, with Close in it
	j.setFail(fmt.Errorf("%w: the disk is full", ErrNotWritten))
	j.hold <- struct{}{}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	<-results
	<-results
	j.hold = nil
	j.setFail(nil)
	if err := apply(e, "c"); !errors.Is(err, ErrClosed) {
		t.Errorf("a write after close gives %v", err)
	}
}

func apply(e *Engine, path string) error {
	_, err := e.Apply(context.Background(), Op{Verb: Set, Path: path})
	return err
}

// queued waits until so many writes stand in the queue.
func queued(e *Engine, n int) {
	for length := 0; length < n; runtime.Gosched() {
		e.mu.Lock()
		length = len(e.queue)
		e.mu.Unlock()
	}
}
