package cli

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

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

// What one cause does to each node of a large cluster does not fill the screen, and hides nothing of another level.
func TestPrintManyFindings(t *testing.T) {
	var list []doctor.Finding
	for range 5000 {
		list = append(list, doctor.Finding{Check: doctor.CheckSpeakers, Object: "Pod x", Level: doctor.Warning, Message: "(why)"})
	}
	list = append(list, doctor.Finding{Check: doctor.CheckSpeakers, Object: "Pod y", Level: doctor.Problem, Message: "(why)"},
		doctor.Finding{Check: doctor.CheckPorts, Object: "Pod x", Level: doctor.Warning, Message: "(why)"})
	got := findingsText(list)
	if n := strings.Count(got, "Pod x"); n != 21 {
		t.Errorf("%d are told one by one", n)
	}
	for _, want := range []string{"  warning      and 4980 more: -o json tells of each\n\nPORTS\n", "Pod y", "Found: 1 problem, 5001 warnings.\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("nothing says %q", want)
		}
	}
}

// Times are told by the cluster's clock: this machine's may be wrong.
func TestServerClock(t *testing.T) {
	there := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", there.Format(http.TimeFormat))
		w.Header().Set("Content-Type", "application/json")
		if _, err := io.WriteString(w, `{"major": "1", "minor": "36", "gitVersion": "v1.36.4"}`); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	r, err := newDoctorReader(func() (*rest.Config, error) { return &rest.Config{Host: server.URL}, nil }, "fairlead-system")
	if err != nil {
		t.Fatal(err)
	}
	v, now, err := r.server()
	if err != nil || v != "v1.36.4" || !now.Equal(there) {
		t.Error(v, now, err)
	}
}
