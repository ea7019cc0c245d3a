package rollouts

import (
	"context"
	"log/slog"
	"time"

	"kvexpress/internal/wait"
)

// StartNotifier starts a notifier with short pauses, and returns what adds to it.
func StartNotifier(ctx context.Context, w *Webhook, log *slog.Logger) func(Notice) {
	n := newNotifier(w, log)
	n.pause = wait.Backoff{Least: time.Millisecond, Most: time.Millisecond}
	go n.run(ctx)
	return n.add
}
