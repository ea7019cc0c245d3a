package web

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
	"kvexpress/internal/rollout"
)

// The actions of the page. The words are a part of its URLs.
const (
	doStop     = "stop"
	doResume   = "resume"
	doRollback = "rollback"
	doPause    = "pause"
	doContinue = "continue"
	doPromote  = "promote"
	doAbort    = "abort"
)

// actLimit limits one action, and settle how long the page waits until it knows of it.
const (
	actLimit = 30 * time.Second
	settle   = 2 * time.Second
)

// order is what a form does to a key, and the state that the caller saw.
type order struct {
	do     string
	key    kv.Key
	reason string

	was      string // digest of the reason of the stop
	to, live uint64 // of a rollback: the version to publish again, and the live one
	rollout  string // ID
	state    rollout.State
	stage    int
}

func orderOf(k kv.Key, v url.Values) order {
	number := func(name string) uint64 {
		n, _ := strconv.ParseUint(v.Get(name), 10, 63) // 0 is refused, or no version
		return n
	}
	stage, _ := strconv.Atoi(v.Get("stage"))
	return order{do: v.Get("do"), key: k, reason: strings.TrimSpace(v.Get("reason")), was: v.Get("was"), to: number("to"),
		live: number("live"), rollout: v.Get("rollout"), state: rollout.State(v.Get("state")), stage: stage}
}

// action is one action of the page.
type action struct {
	title   string // of its form; %s is the key
	command string // words of the command that does the same; %s is the key, and WHY the reason
	event   string // that an order about a rollout leaves
	change  func(rollout.Row, string) (rollout.Row, error)
}

// actions are the actions by the word of their URLs.
var actions = map[string]action{ //nolint:gochecknoglobals // nothing changes it
	doStop:     {title: "Stop %s", command: "stop -k %s -r WHY"},
	doResume:   {title: "Resume %s", command: "resume -k %s -r WHY"},
	doRollback: {title: "Roll back %s", command: "rollback -k %s -m WHY"},
	doPause:    {"Pause the rollout of %s", "rollout pause -k %s -r WHY", hold.ActionPause, rollout.Row.Pause},
	doContinue: {"Resume the rollout of %s", "rollout resume -k %s -r WHY", hold.ActionGoOn,
		func(r rollout.Row, _ string) (rollout.Row, error) { return r.Resume() }},
	doPromote: {"Promote the rollout of %s", "rollout promote -k %s -r WHY", hold.ActionPromote,
		func(r rollout.Row, _ string) (rollout.Row, error) { return r.Promote(false) }},
	doAbort: {"Abort the rollout of %s", "rollout abort -k %s -r WHY", hold.ActionAbort, rollout.Row.Abort},
}

// errMoved: what the caller saw is no more.
var errMoved = errors.New("it changed since this form was opened, so nothing was done; open it again")

// act shows the form of an action, or does it. Only the caller's token is used.
func (w *Web) act(rw http.ResponseWriter, r *http.Request) {
	s, err := w.ready(r)
	if err == nil {
		if err = w.o.MayAct(r); err != nil {
			err = &problem{http.StatusForbidden, err.Error()}
		}
	}
	a := &asked{ctx: r.Context(), r: r, snapshot: s, rest: r.PathValue("key")}
	var k kv.Key
	if err == nil {
		k, err = w.keyOf(a)
	}
	if err != nil {
		w.fail(rw, r, err)
		return
	}
	if r.Method == http.MethodGet {
		o := orderOf(k, r.URL.Query())
		t, err := w.describe(a, &o)
		if err != nil {
			w.fail(rw, r, err)
			return
		}
		w.write(rw, http.StatusOK, view{string(k), o.markup(t, w.command(o), "")})
		return
	}
	r.Body = http.MaxBytesReader(rw, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		w.fail(rw, r, &problem{http.StatusBadRequest, "The form cannot be read: " + err.Error()})
		return
	}
	o := orderOf(k, r.PostForm)
	if err = w.do(r.Context(), a, o); err == nil {
		w.model.after(r.Context(), time.Now())
		http.Redirect(rw, r, "/key/"+escapePath(string(k)), http.StatusSeeOther)
		return
	}
	code, why := http.StatusConflict, w.guide(o).Explain(err)
	switch {
	case errors.Is(err, kv.ErrDenied):
		code = http.StatusForbidden
	case errors.Is(err, kv.ErrUnreachable), errors.Is(err, kv.ErrUnknownOutcome):
		code = http.StatusServiceUnavailable
	}
	w.write(rw, code, view{string(k), o.markup(touch{}, w.command(o), why)})
}

// do carries an order out with the caller's token, as the command does that the form shows.
func (w *Web) do(ctx context.Context, a *asked, o order) error {
	store, err := w.o.As(w.o.Token(a.r))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, actLimit)
	defer cancel()
	from, _, _ := net.SplitHostPort(a.r.RemoteAddr)
	e := hold.Event{Time: time.Now(), Key: o.key, Reason: o.reason,
		Who: fmt.Sprintf("page@%s from %s", w.o.Hub, cmp.Or(from, "a socket"))}
	if known, ok := store.(interface{ Accessor(context.Context) string }); ok {
		e.Accessor = known.Accessor(ctx)
	}
	rec := hold.Recorder{Store: store, Layout: w.o.Layout, Lost: func(err error) {
		w.o.Log.Warn("an action of the page left no event", "do", o.do, "key", o.key, "error", err)
	}}
	switch {
	case o.reason == "":
		err = errors.New("the reason is missing")
	case o.do == doStop:
		_, err = hold.Freezer{Recorder: rec, By: e}.Stop(ctx, o.key, o.reason)
	case o.do == doResume:
		_, _, err = hold.Freezer{Recorder: rec, By: e, Seen: o.saw}.Resume(ctx, o.key, o.reason)
	case o.do == doRollback:
		e.Action = hold.ActionRollback
		p := publish.Publisher{Store: store, Once: store, Layout: w.o.Layout, By: e.Who, Log: w.o.Log}
		err = o.rollback(ctx, &p, e)
	default:
		err = o.change(ctx, rec, e)
	}
	if err == nil {
		w.o.Log.Info("an action of the page", "do", o.do, "key", o.key, "who", e.Who, "accessor", e.Accessor, "reason", o.reason)
	}
	return err
}

// saw refuses to remove a stop that the caller did not see.
func (o order) saw(reason string) error {
	if digest(reason) != o.was {
		return errMoved
	}
	return nil
}

func (o order) rollback(ctx context.Context, p *publish.Publisher, e hold.Event) error {
	if o.to == 0 {
		return errors.New("the version is missing")
	}
	req := publish.Request{Key: o.key, Message: publish.RollbackMessage(o.reason, o.to), IfVersion: &o.live, Event: &e}
	e.Reason = req.Message
	_, err := p.GoBack(ctx, &req, o.to)
	if err == nil {
		_, err = p.Publish(ctx, req)
	}
	return err
}

// change orders something about the rollout that the caller saw.
func (o order) change(ctx context.Context, rec hold.Recorder, e hold.Event) error {
	what := actions[o.do]
	if what.change == nil {
		return fmt.Errorf("there is no action %s", kv.Quote(o.do))
	}
	e.Action = what.event
	_, err := publish.Order(ctx, rec, e, func(r rollout.Row, why string) (rollout.Row, error) {
		if r.ID != o.rollout || r.State != o.state || r.Stage != o.stage {
			return r, errMoved
		}
		return what.change(r, why)
	})
	return err
}

// digest stands for a text that a form must not change.
func digest(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

// command is the command line that does the same; "": there is none.
func (w *Web) command(o order) string {
	words := actions[o.do].command
	if words == "" {
		return ""
	}
	if words = fmt.Sprintf(words, o.key); o.do == doRollback {
		words += fmt.Sprintf(" --to %d --if-version %d -l 0", o.to, o.live)
	}
	return strings.Trim(w.guide(o).Typed("`kvexpress "+words+"`"), "`")
}

// guide completes remedies for a caller.
func (w *Web) guide(o order) kv.Guide {
	g := kv.Guide{Role: "operator", Key: string(o.key)}
	if o.do == doRollback {
		g.Role = "publisher"
	}
	if p := w.o.Layout.Prefix(); p != "kvexpress" {
		g.Flags = []kv.Flag{{Name: "-p", Value: p}}
	}
	return g
}
