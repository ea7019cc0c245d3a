package demo

import (
	"context"
	"os"
)

// Store is TEMPORARY: a Consul that was started by hand.
type Store struct{ Addr string }

// StartStore finds it.
func StartStore(_ context.Context, _ string) (*Store, error) {
	return &Store{Addr: os.Getenv("KVEXPRESS_DEV_CONSUL")}, nil
}

// Close does nothing.
func (s *Store) Close() error { return nil }
