package testenv

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// auditLog is the name of the log's file.
const auditLog = "audit.log"

// Use is a right that a user has made use of, in the terms of a rule of RBAC.
type Use struct {
	Verb, Group string
	// Resource with its subresource: services/status.
	Resource string
}

// Used are the rights that a user of UserKubeconfig has made use of successfully so far.
func (e *Env) Used(user string) (map[Use]bool, error) {
	f, err := os.Open(filepath.Join(e.dir, auditLog))
	if err != nil {
		return nil, fmt.Errorf("read the audit log: %w", err)
	}
	defer f.Close()
	used := map[Use]bool{}
	for d := json.NewDecoder(f); ; {
		var event struct {
			Verb      string
			User      struct{ Username string }
			ObjectRef *struct{ APIGroup, Resource, Subresource string }
			// ResponseStatus of a request that was let through: not 403.
			ResponseStatus struct{ Code int }
		}
		// The last line may not be written to its end yet.
		if err := d.Decode(&event); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return used, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the audit log: %w", err)
		}
		if event.User.Username != user || event.ObjectRef == nil || event.ResponseStatus.Code == 403 {
			continue
		}
		resource := event.ObjectRef.Resource
		if event.ObjectRef.Subresource != "" {
			resource += "/" + event.ObjectRef.Subresource
		}
		used[Use{event.Verb, event.ObjectRef.APIGroup, resource}] = true
	}
}
