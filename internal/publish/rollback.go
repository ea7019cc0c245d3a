package publish

import (
	"context"
	"fmt"

	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

// GoBack fills in the content of a past version, and returns its number. 0 is the version
// before the live one with other content: then the live version is pinned, so that the
// rollback undoes only the version that it read. Errors are those of record.History, or a *Conflict.
func (p *Publisher) GoBack(ctx context.Context, req *Request, to uint64) (uint64, error) {
	past := record.History{Store: p.Store, Layout: p.Layout, Wait: p.Wait}
	if to == 0 {
		l, err := past.List(ctx, req.Key)
		if err != nil {
			return 0, err
		}
		before, err := l.Before(true)
		if err != nil {
			return 0, err
		}
		live, _ := l.Live()
		switch {
		case req.IfVersion == nil:
			req.IfVersion, req.pinned = &live.Number, true
		case *req.IfVersion != live.Number:
			return 0, &Conflict{Key: req.Key, IfVersion: req.IfVersion, Current: &live.Number}
		}
		if l.State != record.Damaged {
			req.IfSHA256 = l.SHA256
		}
		to = before.Number
	}
	all, err := past.Read(ctx, req.Key, to)
	if err != nil {
		return 0, err
	}
	req.Content, req.past = all[0].Plain, true
	if req.Encoding, err = record.ParseEncoding(string(all[0].Encoding)); err != nil { // a newer one
		req.Encoding = record.Plain
	}
	return to, nil
}

// RollbackMessage is the message that history shows: the user's words, and which version it is if there is room.
func RollbackMessage(text string, to uint64) string {
	what := fmt.Sprintf("rollback to version %d", to)
	if text == "" {
		return what
	}
	if both := fmt.Sprintf("%s (%s)", text, what); len(both) <= kv.MaxMessage {
		return both
	}
	return text
}
