package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"fairlead.io/fairlead/test/lab"
)

// buildTimeout is many times what it takes, also where nothing was built before.
const buildTimeout = 15 * time.Minute

// goFlags are the Makefile's: with others everything would be built anew.
var goFlags = []string{"GOFLAGS=-trimpath -buildvcs=false", "GOTOOLCHAIN=local"}

// built is what only some tests need, each built once, when it is needed first.
var built = newBuilds()

type builds struct {
	dir string // for all of it; TestMain makes and removes it
	// plugin is the path of kubectl-fairlead, previous the folder of a kustomization: see makePlugin and makePrevious.
	plugin, previous func() (string, error)
}

func newBuilds() *builds {
	b := &builds{}
	b.plugin, b.previous = sync.OnceValues(b.makePlugin), sync.OnceValues(b.makePrevious)
	return b
}

// testBuild builds it before there is anything to be measured, with nice(1), so that the tests beside it go on.
func testBuild(t *testing.T) {
	g := NewWithT(t)
	_, err := built.plugin()
	g.Expect(err).NotTo(HaveOccurred())
	_, err = built.previous()
	g.Expect(err).NotTo(HaveOccurred())
}

// plugin is the path of kubectl-fairlead, as it is now.
func (s *scenario) plugin() string {
	s.Helper()
	program, err := built.plugin()
	s.Expect(err).NotTo(HaveOccurred())
	return program
}

func (b *builds) makePlugin() (string, error) {
	program := filepath.Join(b.dir, "kubectl-fairlead")
	return program, command(labConfig.Root, goFlags, "nice", "go", "build", "-o", program, "./cmd/kubectl-fairlead")
}

// makePrevious builds the previous commit's programs, gives the nodes their image, and returns the kustomization that installs it. Where a
// checkout has no history, or git does not trust it, or the lab's kustomization was not there yet, the present state takes the place of the
// previous one: all pods are replaced all the same.
func (b *builds) makePrevious() (string, error) {
	dir, root := filepath.Join(b.dir, "previous"), labConfig.Root
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	of, err := filepath.Rel(root, labConfig.Kustomization)
	if err != nil {
		return "", err
	}
	archive := filepath.Join(dir, "previous.tar")
	if err := command(root, nil, "git", "rev-parse", "--verify", "HEAD~1:"+filepath.ToSlash(of)); err == nil {
		err = command(root, nil, "git", "archive", "--output", archive, "HEAD~1")
		if err != nil {
			return "", err
		}
	} else {
		fmt.Fprintln(os.Stderr, "e2e: no previous commit to upgrade from, but the present state:", err)
		if err := command(root, nil, "tar", "-cf", archive, "--exclude=./bin", "--exclude=./dist", "--exclude=./.git", "."); err != nil {
			return "", err
		}
	}
	if err := command(dir, nil, "tar", "-xf", archive); err != nil {
		return "", err
	}
	programs := []string{lab.ControllerDeployment, lab.SpeakerDaemonSet}
	image := []string{"--output", filepath.Join(dir, "image.tar"), "--reference", "fairlead:previous", "--user", "65532:65532", "--entrypoint", "/" + programs[0]}
	for _, p := range programs {
		err := command(dir, append([]string{"CGO_ENABLED=0"}, goFlags...), "nice", "go", "build", "-ldflags", "-s -w", "-o", filepath.Join(dir, p), "./cmd/"+p)
		if err != nil {
			return "", err
		}
		image = append(image, "--file", filepath.Join(dir, p)+":/"+p)
	}
	if err := command(dir, nil, filepath.Join(root, "bin", "tools", "mkimage"), image...); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	if err := theLab.LoadImage(ctx, filepath.Join(dir, "image.tar")); err != nil {
		return "", err
	}
	kustomization := filepath.Join(dir, of, "..", "previous")
	if err := os.MkdirAll(kustomization, 0o755); err != nil {
		return "", err
	}
	text := fmt.Sprintf("resources: [../%s]\nimages: [{name: fairlead, newTag: previous}]\n", filepath.Base(of))
	return kustomization, os.WriteFile(filepath.Join(kustomization, "kustomization.yaml"), []byte(text), 0o600)
}

// command runs to its end in a folder, with more in its environment.
func command(dir string, env []string, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %v: %w:\n%s", name, args, err, bytes.TrimSpace(out))
	}
	return nil
}
