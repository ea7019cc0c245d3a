package cli

import (
	"context"
	"errors"

	"kvexpress/internal/kv"
)

func (s *session) frozen(ctx context.Context, r *statusReport, k kv.Key) error { return nil }
func (s *session) frozenAll(ctx context.Context, r *statusOfAllReport) error   { return nil }
func joinErrors(a, b error) error                                              { return errors.Join(a, b) }
