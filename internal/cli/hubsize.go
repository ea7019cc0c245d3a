package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/fleet"
	"kvexpress/internal/hub"
)

func (a *App) newHubSize(g *globals) *cobra.Command {
	var f hub.Fleet
	cmd := a.without(g, "hub size", "json", func(*cobra.Command) (report, error) {
		if f.Nodes == 0 {
			return nil, errors.New("give the number of nodes, such as --nodes 10000")
		}
		n, err := hub.Size(f)
		if err != nil {
			return nil, err
		}
		return sizeReport{n}, nil
	})
	fl := cmd.Flags()
	fl.IntVar(&f.Nodes, "nodes", 0, "`number` of nodes, up to 1000000")
	fl.IntVar(&f.Keys, "keys", 10, "`number` of keys in use")
	fl.IntVar(&f.Targets, "targets", 1, "`number` of files on each node")
	fl.IntVar(&f.Size, "size", 32768, "size of one file as stored, in `bytes`")
	return cmd
}

type sizeReport struct{ hub.Need }

func (r sizeReport) lines() []string {
	cpu := func(m fleet.Millis) string { return render.Took(time.Duration(m)) }
	cores := func(share float64) string { return fmt.Sprintf("%.1f%%", 100*share) }
	return render.Table([][]string{
		{"NEED", "AMOUNT", "FOR"},
		{"hubs", fmt.Sprint(r.Hubs), "any one of them may be gone"},
		{"hub: agents", fmt.Sprint(r.Agents), fmt.Sprintf("%d while another hub is gone", r.Most)},
		{"hub: memory", mebibytes(r.Memory), "with the agents of a hub that is gone"},
		{"hub: network", mebibytes(r.Send), "one publish to all nodes"},
		{"hub: CPU", cpu(r.HubCPU), "one publish to all nodes, and their receipts"},
		{"hub: CPU", cores(r.HubIdle), "of a core, always"},
		{"consul: CPU", cpu(r.Publish + r.Receipts), "one publish and its receipts; without hubs " + cpu(r.WithoutHubs)},
		{"consul: CPU", cores(r.ConsulIdle), "of a core, always: the rights of all nodes"},
		{"node: CPU", cpu(r.NodeCPU), "one publish"},
		{"last file", cpu(r.Last), "after the publish, with 2 cores and 1 Gbit/s for each hub"},
		{"last receipt", cpu(r.Proof), "after the publish"},
	})
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
