package cli

import (
	"bytes"
	"path/filepath"
	"testing"

	"fairlead.io/fairlead/internal/doctor"
)

func TestPrintFindings(t *testing.T) {
	list := []doctor.Finding{
		{Check: doctor.CheckKinds, Object: "API server", Level: doctor.OK, Message: "Kubernetes v1.36.4"},
		{Check: doctor.CheckSpeakers, Object: "Node node2", Level: doctor.Warning, Message: "no speaker runs there: (why)"},
		{Check: doctor.CheckSpeakers, Object: "Pod fairlead-system/fairlead-speaker-x", Level: doctor.Problem, Message: "container speaker has no image: (what to do)"},
		{Check: doctor.CheckServices, Object: "Services of type LoadBalancer", Level: doctor.NotChecked, Message: "you may not list services"},
	}
	for output, file := range map[string]string{"": "doctor.txt", OutputJSON: "doctor.json"} {
		var got bytes.Buffer
		if err := printFindings(&got, list, output); err != nil {
			t.Fatal(err)
		}
		golden(t, filepath.Join("testdata", file), got.Bytes())
	}
}
