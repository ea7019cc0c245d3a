package cli

import (
	"errors"
	"fmt"
	"io"
	"os"

	"go.yaml.in/yaml/v4"
)

// maxConfig is the most bytes of a configuration file that are read.
const maxConfig = 1 << 20

// fileConfig is the file of -C, with 1.x's keys. Keys that are not here are left
// alone, as 1.x did: the file may be shared.
type fileConfig struct {
	ConsulServer     string `yaml:"consul_server"`
	Token            string `yaml:"token"`
	Dogstatsd        bool   `yaml:"dogstatsd"`
	DogstatsdAddress string `yaml:"dogstatsd_address"`
	DatadogAPIKey    string `yaml:"datadog_api_key"`
	DatadogAppKey    string `yaml:"datadog_app_key"`
	DatadogHost      string `yaml:"datadog_host"`
}

func loadConfig(path string) (fileConfig, error) {
	var c fileConfig
	if path == "" {
		return c, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return c, fmt.Errorf("read the configuration: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return c, fmt.Errorf("read the configuration %s: %w", path, err)
	}
	if len(b) > maxConfig {
		return c, fmt.Errorf("the configuration %s has more than %d bytes", path, maxConfig)
	}
	if err := yaml.Unmarshal(b, &c); err != nil {
		where := ""
		if at := (*yaml.LoadError)(nil); errors.As(err, &at) && at.Mark.Line > 0 {
			where = fmt.Sprintf(": see line %d", at.Mark.Line)
		}
		// The parser's text may quote the file, which holds secrets.
		return fileConfig{}, fmt.Errorf("the configuration %s is not the YAML that is expected%s", path, where)
	}
	return c, nil
}
