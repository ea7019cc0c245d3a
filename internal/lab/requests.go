//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// RPCs is how many requests a second all nodes' Consul agents made to the servers, in
// the last 10 s or less that Consul has counted. It is an error if a node says nothing.
func (l *Lab) RPCs(ctx context.Context) (float64, error) {
	sums := make([]float64, len(l.Nodes))
	number := map[*Node]int{}
	for i, n := range l.Nodes {
		number[n] = i
	}
	err := each(l.Nodes, func(n *Node) error {
		var metrics struct {
			Counters []struct {
				Name  string
				Count int
			}
		}
		return poll(ctx, "the counters of "+n.Name, func() error {
			if err := l.api.do(ctx, http.MethodGet, "http://"+n.Addr+"/v1/agent/metrics", l.secrets.management, nil, &metrics); err != nil {
				return err
			}
			if len(metrics.Counters) == 0 {
				return errors.New("there are none")
			}
			for _, c := range metrics.Counters {
				if c.Name == "consul.client.rpc" {
					sums[number[n]] = float64(c.Count) / metricsInterval.Seconds()
				}
			}
			return nil
		})
	})
	if err != nil {
		return 0, fmt.Errorf("requests to Consul's servers: %w", err)
	}
	var sum float64
	for _, s := range sums {
		sum += s
	}
	return sum, nil
}

// metricsInterval is for what Consul counts in one go.
const metricsInterval = 10 * time.Second
