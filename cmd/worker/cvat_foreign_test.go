//go:build foreign

package main

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nextbatch/internal/cvat/cvatfake"
)

// TestTrainBesideCVAT runs the training job of docs/cvat.md letter for letter,
// two rounds of it, with the binary that people run and CVAT's own client,
// while annotators work in a stand-in for CVAT: once with its webhooks, and
// once with all of them lost.
func TestTrainBesideCVAT(t *testing.T) {
	python, bin := foreignPython(t), plainWorker(t)
	for name, lost := range map[string]bool{"webhooks": false, "lost webhooks": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := cvatfake.Start(map[int]string{7: "Clothing"})
			t.Cleanup(fake.Close)
			s := newSite(t, python, bin, func(web string) []string {
				every := "1h"
				if lost {
					every = "1s"
				}
				return []string{"CVAT_URL=" + fake.URL, "AL_CVAT_URL=" + fake.URL, "AL_CVAT_TOKEN=" + cvatfake.Token, "AL_CVAT_PROJECTS=clothing:7",
					"AL_CVAT_HOOK_URL=http://" + web, "AL_CVAT_SECRET=a secret of the test", "AL_CVAT_JOB_SIZE=4", "AL_CVAT_EVERY=" + every}
			})
			s.write("cvat.token", cvatfake.Token+"\n")
			if err := os.MkdirAll(filepath.Join(s.dir, "photos/a"), 0o755); err != nil {
				t.Fatal(err)
			}
			bright := map[string]bool{}
			for i := range 60 {
				photo, name := image.NewGray(image.Rect(0, 0, 4, 4)), fmt.Sprintf("a/%02d.png", i)
				bright[name] = i%2 == 1
				for p := range photo.Pix {
					photo.Pix[p] = uint8(60 + (i*7+p*13)%50 + 100*(i%2))
				}
				photo.SetGray(i%4, 0, color.Gray{uint8(i)})
				var file bytes.Buffer
				if err := png.Encode(&file, photo); err != nil {
					t.Fatal(err)
				}
				s.write("photos/"+name, file.String())
			}
			fake.Lose(lost)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			cmd := s.command(ctx, python, "-B", "train_cvat.py")
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			annotated := 0 // tasks
			for err := error(nil); ; {
				select {
				case err = <-ended:
				case <-time.After(50 * time.Millisecond):
					if all := fake.Tasks(); annotated < min(2, len(all)) && len(all[annotated].Frames) > 0 {
						annotate(fake, all[annotated], bright)
						annotated++
					}
					continue
				}
				if err != nil {
					t.Fatalf("the training job: %v\n%s", err, out.Bytes())
				}
				break
			}
			want := "round-1: 10 images go to CVAT\nround-1: 9 labeled, 1 skipped; training on 9\n" +
				"round-2: 10 images go to CVAT\nround-2: 9 labeled, 1 skipped; training on 18\nnext is round-3\n"
			if out.String() != want {
				t.Errorf("the training job says\n%s\nwant\n%s", out.Bytes(), want)
			}
			tasks := waitTask(t, fake, 3)
			if len(tasks.Frames) != 10 || len(fake.Tasks()) != 3 {
				t.Errorf("%d tasks, the last is %+v", len(fake.Tasks()), tasks)
			}
			for _, d := range fake.Sent() {
				if lost && d.Status != 0 || !lost && d.Status != http.StatusOK && d.Status != http.StatusServiceUnavailable { // sent again
					t.Errorf("%s was answered %d", d.Event, d.Status)
				}
			}
			text := s.run(s.bin, "check")
			for _, line := range []string{"version 2.80.0, user anna", "CVAT project 7 (Clothing) for dataset clothing: webhook", "CVAT: ok"} {
				if !strings.Contains(text, line) {
					t.Errorf("worker check says\n%s\nwithout %q", text, line)
				}
			}
		})
	}
}

// annotate does what annotators do: it deletes a frame, tags all others, and
// completes the jobs.
func annotate(fake *cvatfake.CVAT, task cvatfake.Task, bright map[string]bool) {
	fake.DeleteFrames(task.ID, 3)
	for _, n := range task.Jobs {
		j := fake.Job(n)
		for frame := j.Start; frame <= j.Stop; frame++ {
			label := 1
			if bright[task.Frames[frame]] {
				label = 2
			}
			if frame != 3 {
				fake.Annotate(n, label, frame)
			}
		}
		fake.SetJob(n, "", "in progress")
		fake.SetJob(n, "", "completed")
	}
}
