package cli

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"kvexpress/internal/rollout"
	"kvexpress/internal/wire"
)

// Only the controller knows the numbers of nodes: its answer counts, whichever hub is asked first, while the rollout is open and
// after its end. Hubs of one machine have one name. If it does not answer, another hub's does.
func TestControllerIsAsked(t *testing.T) {
	for _, state := range []rollout.State{rollout.Running, rollout.Promoted} {
		for _, down := range []bool{false, true} {
			s := &session{}
			for _, name := range []string{"hub-0", "hub-1", "hub-2"} {
				v := rollout.View{Index: 7, Hub: "vm", Row: &rollout.Row{ID: "r1", Key: "hosts", State: state, Controller: "vm#1"}}
				if name == "hub-2" {
					v.Controls, v.Stages = true, []rollout.StageView{{Nodes: 5}}
				}
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set(wire.Header, "1")
					if down && name == "hub-2" {
						w.WriteHeader(http.StatusBadGateway)
						return
					}
					_ = json.NewEncoder(w).Encode(v)
				}))
				defer server.Close()
				s.hubs = append(s.hubs, wire.Client{Addr: strings.TrimPrefix(server.URL, "http://")})
			}
			source := rolloutSource{s: s, k: "hosts"}
			if v, err := source.next(context.Background()); err != nil || v.Row == nil || (len(v.Stages) == 1) == down {
				t.Errorf("%s, the controller is down: %v: the answer is %+v, %v", state, down, v, err)
			}
		}
	}
}
