package config

import (
	"errors"
	"fmt"
	"io"
	"os"

	"go.yaml.in/yaml/v4"
)

// FlagFile has defaults for flags: the file of -C, with 1.x's keys. Other keys are ignored, as in
// 1.x, because the file may be shared.
type FlagFile struct {
	ConsulServer     string `yaml:"consul_server"`
	Token            string `yaml:"token"`
	Dogstatsd        bool   `yaml:"dogstatsd"`
	DogstatsdAddress string `yaml:"dogstatsd_address"`
	DatadogAPIKey    string `yaml:"datadog_api_key"`
	DatadogAppKey    string `yaml:"datadog_app_key"`
	DatadogHost      string `yaml:"datadog_host"`
	Hub              string `yaml:"hub"` // addresses, separated by commas
	HubCA            string `yaml:"hub_ca"`
	HubServerName    string `yaml:"hub_server_name"`
	HubClientCert    string `yaml:"hub_client_cert"`
	HubClientKey     string `yaml:"hub_client_key"`
}

// LoadFlagFile reads a FlagFile of at most 1 MiB. Without a path it is empty. Errors quote nothing of
// the file, which may have secrets.
func LoadFlagFile(path string) (FlagFile, error) {
	var c FlagFile
	if path == "" {
		return c, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return c, fmt.Errorf("read the configuration: %w; name another with -C", err)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return c, fmt.Errorf("read the configuration %s: %w", path, err)
	}
	if len(b) > maxFile {
		return c, fmt.Errorf("the configuration %s has more than %d bytes", path, maxFile)
	}
	if err := yaml.Unmarshal(b, &c); err != nil {
		where := ""
		if at := (*yaml.LoadError)(nil); errors.As(err, &at) && at.Mark.Line > 0 {
			where = fmt.Sprintf("; check line %d", at.Mark.Line)
		}
		return FlagFile{}, fmt.Errorf("the configuration %s is not valid%s", path, where)
	}
	return c, nil
}
