package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/config"
	"kvexpress/internal/doctor"
	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
)

func (a *App) newDoctor(g *globals) *cobra.Command {
	var file string
	general := uses("config server token token-file datacenter hub prefix length", flagsFile, "exec", "json")
	cmd := a.without(g, "doctor", general, func(cmd *cobra.Command) (report, error) {
		return a.doctor(cmd, g, file)
	})
	cmd.Args, cmd.ValidArgs = cobra.ArbitraryArgs, roles()
	cmd.Flags().StringVarP(&g.key, "key", "k", "", "`key` that the role uses")
	cmd.Flags().StringVarP(&file, "file", "f", "", "`file` of the node, as for out")
	return cmd
}

func (a *App) doctor(cmd *cobra.Command, g *globals, file string) (report, error) {
	role := strings.Join(cmd.Flags().Args(), " ")
	var checks []doctor.Check
	var err error
	exists := func(path string) bool { _, err := os.Stat(path); return !errors.Is(err, fs.ErrNotExist) }
	switch {
	case role != "" && !slices.Contains(roles(), role):
		return nil, fmt.Errorf("%s is not a role; name publisher, node, operator or hub", kv.Quote(role))
	case role == "" && (g.key != "" || file != ""):
		return nil, errors.New("-k and -f are of a role; name it: `kvexpress doctor node`, publisher or operator")
	case role == "hub" && (g.key != "" || file != ""):
		return nil, errors.New("the role hub takes no -k and no -f; leave them out")
	case role == "node" && (g.key != "" || file != ""):
		checks, err = a.examineOut(cmd, g, file)
	case role == "publisher", role == "operator":
		checks, err = a.examineUser(cmd, g, role, file)
	case role == "node", role == "" && (g.config != "" || exists(defaultAgentFile)):
		checks = a.examineAgent(cmd.Context(), g)
		if role == "" && g.config == "" && exists(defaultHubFile) {
			checks = append(checks, a.examineHub(cmd, g)...)
		}
	case role == "hub", exists(defaultHubFile):
		checks = a.examineHub(cmd, g)
	default:
		checks, err = a.examineUser(cmd, g, "", "")
	}
	if err != nil {
		return nil, err
	}
	bar := render.NewBar((&session{App: a}).screen(), "waiting", (&session{App: a}).utf8())
	all := doctor.Run(cmd.Context(), checks, func(n int) {
		bar.Show(float64(n)/float64(len(checks)), "for "+checks[n].Name+" "+render.Line(checks[n].About))
	})
	bar.End()
	if role == "node" || role == "" {
		doctor.Spare(all)
	}
	r := &doctorReport{Findings: all, colour: a.colour()}
	return r, r.verdict()
}

// doctorReport is the result of `kvexpress doctor`.
type doctorReport struct {
	Findings []doctor.Finding `json:"findings"`
	colour   bool
}

func (r *doctorReport) lines() []string {
	var lines []string
	count := map[doctor.Result]int{}
	for _, f := range r.Findings {
		count[f.Result]++
		about := ""
		if f.About != "" {
			about = " " + f.About
		}
		colour := cmp.Or(map[doctor.Result]string{doctor.OK: render.Green, doctor.Failure: render.Red}[f.Result], render.Yellow)
		word := fmt.Sprintf("%-11s", strings.ReplaceAll(string(f.Result), "_", " "))
		lines = append(lines, render.Paint(r.colour, colour, word)+"  "+render.Line(f.Check+about+": "+f.Says))
	}
	return append(lines, "", fmt.Sprintf("%d ok, %s, %s, %d not checked", count[doctor.OK],
		render.Plural(count[doctor.Warning], "warning"), render.Plural(count[doctor.Failure], "failure"), count[doctor.NotChecked]))
}

// verdict is the error of a report with failures.
func (r *doctorReport) verdict() error {
	var failed []doctor.Finding
	for _, f := range r.Findings {
		if f.Result == doctor.Failure {
			failed = append(failed, f)
		}
	}
	if failed == nil {
		return nil
	}
	first := strings.TrimSpace(failed[0].Check + " " + failed[0].About)
	return fmt.Errorf("%s found; the first one is of %s", render.Plural(len(failed), "failure"), first)
}

// examineUser checks what a publisher or an operator needs, or, without a role, the store alone.
func (a *App) examineUser(cmd *cobra.Command, g *globals, role, file string) ([]doctor.Check, error) {
	s, err := a.open(cmd, g)
	if err != nil {
		return nil, err
	}
	if s.role = role; role == "" {
		here := fmt.Sprintf("there is no %s and no %s; name a role, as in `kvexpress doctor publisher -k KEY`, or a file with -C",
			defaultAgentFile, defaultHubFile)
		none := doctor.Given("configuration", "", doctor.Finding{Result: doctor.NotChecked, Says: here})
		return append([]doctor.Check{none}, s.storeCheck(s.guide(), nil)), nil
	}
	var keys []string
	if g.key != "" {
		k, err := s.key(g.key)
		if err != nil {
			return nil, err
		}
		keys = []string{string(k)}
	}
	if file != "" {
		return nil, errors.New("-f is of a node; leave it out")
	}
	rights, err := s.rights(role, keys, "", false, nil)
	if err != nil {
		return nil, err
	}
	checks := []doctor.Check{s.storeCheck(s.guide(), rights)}
	if s.k != "" {
		var preview func(context.Context) (rollout.Preview, error)
		if len(s.hubs) > 0 {
			preview = (&rolloutSource{s: s, k: s.k}).preview
		}
		checks = append(checks, doctor.OfKey(s.reader(s.plain), s.k, s.guide()),
			doctor.OfPolicy(s.plain, s.layout, s.k, preview, s.guide()))
	}
	return append(checks, doctor.OfFleet(s.reader(s.plain), build().version, s.guide())), nil
}

// rights are the rows that a role reads and writes, by the rules of `kvexpress acl`.
func (s *session) rights(role string, keys []string, node string, noReceipt bool, locks []string) ([]doctor.Right, error) {
	policy, err := s.acl(role, keys, node, noReceipt, false)
	return s.rightsOf(policy, locks), err
}

func (s *session) rightsOf(policy report, locks []string) (all []doctor.Right) {
	rules, _ := policy.(rolePolicy)
	for _, r := range rules.rules {
		paths := []string{r.path}
		if r.kind == "key_prefix" {
			paths[0] += ".probe" // a row that no key uses
		}
		if r.path == s.layout.LocksDir() && r.grant == "read" {
			paths = locks
		}
		for _, path := range paths {
			all = append(all, doctor.Right{Path: path, Write: r.grant == "write", Why: r.why})
		}
	}
	return all
}

func (s *session) storeCheck(g kv.Guide, rights []doctor.Right) doctor.Check {
	store, _ := s.plain.(doctor.Store)
	return doctor.OfStore(store, rights, g)
}

// ofConfig is a configuration that cannot be used. Each mistake is a finding.
func ofConfig(path string, err error) doctor.Check {
	mistakes := []error{err}
	if bad := (*config.Error)(nil); errors.As(err, &bad) {
		mistakes = bad.Problems
	}
	var all []doctor.Finding
	for _, one := range mistakes {
		all = append(all, doctor.Finding{Result: doctor.Failure, Says: one.Error()})
	}
	return doctor.Given("configuration", path, all...)
}

// certificates checks the files that are named.
func certificates(files ...string) (checks []doctor.Check) {
	for _, file := range slices.Compact(files) {
		if file != "" {
			checks = append(checks, doctor.OfCertificates(file))
		}
	}
	return checks
}
