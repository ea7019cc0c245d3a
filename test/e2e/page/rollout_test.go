//go:build linux

package page

import (
	"testing"

	"kvexpress/test/e2e"
)

// A rollout is on the page while it runs: what it waits for, and its end.
func TestRollout(t *testing.T) {
	s := startFleet(t, 3)
	s.Ok("policy", "set", "-k", "hosts", "-f", s.File("policy.yml", "stages: [{count: 1}, {share: 100%, pause: before}]\n"))
	b := open(t, desk)
	b.open(s.url + "/key/hosts")
	b.becomes(said + "('3 of 3 nodes')")
	in := s.Start("in", e2e.Program.Path, "in", "-k", "hosts", "-f", s.File("next", e2e.Text("next", 12)), "-l", "1", "--hub", s.hub.Addr)
	b.becomes(said + "('Rollout of version 2: paused') && " + said + "('kvexpress rollout promote -k hosts')")
	b.becomes("[...document.querySelectorAll('.rollout tbody tr')].some(r => r.innerText.includes('promote'))")
	b.named()
	b.shot("rollout")
	b.open(s.url + "/fleet?state=rollout")
	b.becomes(said + "('version 2 is paused, stage')")
	b.open(s.url + "/key/hosts")
	s.Ok("rollout", "promote", "-k", "hosts")
	b.becomes(said + "('Rollout of version 2: promoted') && " + said + "('version 2') && " + said + "('3 of 3 nodes')")
	e2e.Eventually(t, "in ends", in.Ended)
	b.shot("promoted")
}
