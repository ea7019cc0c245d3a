package consulhttp

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// options are the parameters that all reads have.
type options struct {
	index uint64        // answer when there is a higher one; 0: at once
	wait  time.Duration // as it was asked; see waitFor
}

// badOption is an answer of 400 whose content type Consul does not set itself.
type badOption struct{ text string }

func (b *badOption) Error() string { return b.text }

// parseOptions reads them, in Consul's order. When it has answered the request, because one is not
// sound, it returns false.
func parseOptions(w http.ResponseWriter, r *request) (options, bool) {
	o, err := readOptions(r)
	var bad *badOption
	if errors.As(err, &bad) {
		write(w, http.StatusBadRequest, bad.text)
		return o, false
	}
	return o, true
}

func readOptions(r *request) (o options, err error) {
	stale := r.has("stale")
	if given := r.params.Get("max_stale"); given != "" {
		limit, err := time.ParseDuration(given)
		if err != nil {
			return o, &badOption{fmt.Sprintf("Invalid max_stale value %q", given)}
		}
		stale = stale || limit > 0
	}
	switch consistent := r.has("consistent"); {
	case consistent && stale:
		return o, &badOption{"Cannot specify ?stale with ?consistent, conflicting semantics."}
	case consistent && r.has("cached"):
		return o, &badOption{"Cannot specify ?cached with ?consistent, conflicting semantics."}
	}
	if !soundCacheControl(r.Header.Get("Cache-Control")) {
		return o, &badOption{"Invalid Cache-Control header."}
	}
	if wait := r.params.Get("wait"); wait != "" {
		if o.wait, err = time.ParseDuration(wait); err != nil {
			return o, &badOption{"Invalid wait time"}
		}
	}
	if index := r.params.Get("index"); index != "" {
		if o.index, err = strconv.ParseUint(index, 10, 64); err != nil {
			return o, &badOption{"Invalid index"}
		}
	}
	return o, nil
}

// soundCacheControl reports whether the numbers in the header are numbers. What they say is of no use here.
func soundCacheControl(header string) bool {
	for directive := range strings.SplitSeq(strings.ToLower(header), ",") {
		directive = strings.TrimSpace(directive)
		for _, name := range []string{"max-age=", "stale-if-error="} {
			if number, ok := strings.CutPrefix(directive, name); ok {
				if _, err := strconv.Atoi(number); err != nil {
					return false
				}
			}
		}
	}
	return true
}

// here refuses requests for another datacenter.
func (h *Handler) here(r *request) error {
	dc := r.params.Get("datacenter")
	if dc == "" {
		dc = r.params.Get("dc")
	}
	if dc != "" && dc != h.o.Datacenter {
		return errors.New("No path to datacenter") //nolint:revive,staticcheck // Consul's words
	}
	return nil
}

// enter is what stands before each access to the store: the right datacenter and a known token.
func (h *Handler) enter(r *request) (grant, error) {
	if err := h.here(r); err != nil {
		return grant{}, err
	}
	return h.admit(r)
}
