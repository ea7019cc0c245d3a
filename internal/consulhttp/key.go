package consulhttp

import (
	"errors"
	"net/url"
	"slices"
	"strings"
)

// soundKey refuses the keys that Consul refuses by default: those whose parts, decoded once more or not, leave
// the prefix, and those with spaces at an end.
func soundKey(key string) error {
	traversal := errors.New("invalid key name, path traversal is not allowed")
	spaces := errors.New("invalid key name, leading/trailing spaces are not allowed")
	switch {
	case strings.HasPrefix(key, " "), strings.HasSuffix(key, " "):
		return spaces
	case slices.Contains(strings.Split(key, "/"), ".."):
		return traversal
	}
	decoded, err := url.PathUnescape(key)
	switch {
	case err != nil || decoded == key:
		return nil
	case strings.Contains(decoded, ".."):
		return traversal
	case strings.Contains(decoded, " "):
		return spaces
	}
	return nil
}
