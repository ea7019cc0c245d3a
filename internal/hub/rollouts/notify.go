package rollouts

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
	"kvexpress/internal/safetext"
	"kvexpress/internal/wait"
)

const (
	noticeTries = 3
	noticeLimit = 5 * time.Second // of one try
	maxNotices  = 256             // that wait; the rest is dropped
)

// Webhook gets each change of state of the rollouts that a hub controls, as a POST with a Notice.
type Webhook struct {
	URL   string
	Token func() (string, error) // sent as a bearer token; nil: none
}

// Notice is one change of state.
type Notice struct {
	Key      kv.Key        `json:"key"`
	Rollout  string        `json:"rollout"`
	Version  uint64        `json:"version"`
	State    rollout.State `json:"state"`
	Reason   string        `json:"reason"`
	Stage    int           `json:"stage"` // from 1
	Stages   int           `json:"stages"`
	Admitted int           `json:"admitted"`
	Counted  int           `json:"counted"`
	By       string        `json:"by"` // who began it
	Hub      string        `json:"hub"`
	Time     time.Time     `json:"time"`
}

func newNotice(r rollout.Row, hub string) Notice {
	return Notice{Key: r.Key, Rollout: r.ID, Version: r.Version, State: r.State, Reason: safetext.Line(r.Reason, rollout.MaxWhy),
		Stage: min(r.Stage+1, len(r.Plan.Stages)), Stages: len(r.Plan.Stages), Admitted: r.Admitted, Counted: r.Counted, By: r.By,
		Hub: hub, Time: time.Now().UTC().Truncate(time.Second)}
}

// notifier sends notices one after the other. It never blocks a rollout.
type notifier struct {
	hook    *Webhook
	log     *slog.Logger
	waiting chan Notice
	pause   wait.Backoff
}

func newNotifier(w *Webhook, log *slog.Logger) notifier {
	return notifier{w, log, make(chan Notice, maxNotices), wait.Backoff{Least: time.Second, Most: noticeLimit}}
}

func (n *notifier) add(m Notice) {
	if n.hook == nil {
		return
	}
	select {
	case n.waiting <- m:
	default:
		n.log.Warn("too many notices wait for the webhook; one is dropped", "key", m.Key, "state", m.State)
	}
}

func (n *notifier) run(ctx context.Context) {
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-n.waiting:
			var err error
			for try := range noticeTries {
				if try > 0 && wait.For(ctx, n.pause.After(try-1)) != nil {
					return
				}
				if err = n.send(ctx, client, m); err == nil {
					break
				}
			}
			if err != nil && ctx.Err() == nil {
				n.log.Warn("the webhook did not take a notice; check notify in hub.yml", "key", m.Key, "state", m.State, "error", err)
			}
		}
	}
}

func (n *notifier) send(ctx context.Context, client *http.Client, m Notice) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, noticeLimit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, n.hook.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if n.hook.Token != nil {
		token, err := n.hook.Token()
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10)) // so that the connection can be used again
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("it answers with HTTP status %d", answer.StatusCode)
	}
	return nil
}
