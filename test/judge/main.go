// judge records what clients of a cluster see, and asks porcupine, a checker of linearizability, whether one
// server that never lost anything could have given the same answers.
//
//	judge record --log FILE HOST:PORT...
//	    Reads and writes single rows on every server that claims to be a primary, until SIGTERM or SIGINT;
//	    then reads every row that was used once more and ends the history.
//	judge check [--picture FILE.html] [--marks FILE] [--limit DURATION] FILE
//	    Prints the verdict as one JSON object. Exit code 0: linearizable; 1: broken; 2: no verdict.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/anishathalye/porcupine"
)

const (
	exitBroken    = 1
	exitNoVerdict = 2
)

func main() {
	if len(os.Args) >= 2 {
		switch os.Args[1] {
		case "record":
			recordMain(os.Args[2:])
		case "check":
			checkMain(os.Args[2:])
		}
	}
	fail(fmt.Errorf("usage: judge record --log FILE HOST:PORT... | judge check [--picture FILE] FILE"))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "judge:", err)
	os.Exit(exitNoVerdict)
}

func recordMain(args []string) {
	flags := flag.NewFlagSet("record", flag.ExitOnError)
	path := flags.String("log", "", "file of the history")
	flags.Parse(args)
	if *path == "" || flags.NArg() == 0 {
		fail(fmt.Errorf("record wants --log and servers"))
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	if err := record(ctx, *path, flags.Args()); err != nil {
		fail(err)
	}
	os.Exit(0)
}

func checkMain(args []string) {
	flags := flag.NewFlagSet("check", flag.ExitOnError)
	picture := flags.String("picture", "", "where porcupine draws a key whose history has no explanation")
	marksFile := flags.String("marks", "", "log of the test, shown in the picture")
	limit := flags.Duration("limit", 60*time.Second, "for each key")
	flags.Parse(args)
	if flags.NArg() != 1 {
		fail(fmt.Errorf("check wants one history"))
	}
	ops, err := readHistory(flags.Arg(0))
	if err != nil {
		fail(err)
	}
	var marks []porcupine.Annotation
	if *marksFile != "" {
		if marks, err = readMarks(*marksFile); err != nil {
			fail(err)
		}
	}
	v := judge(ops, *limit)
	if len(v.Broken) > 0 && *picture != "" {
		if err := draw(ops, v.Broken[0], *picture, marks, *limit); err != nil {
			fail(err)
		}
		v.Picture = *picture
	}
	json.NewEncoder(os.Stdout).Encode(v)
	switch v.Verdict {
	case broken:
		os.Exit(exitBroken)
	case undecided:
		os.Exit(exitNoVerdict)
	}
	os.Exit(0)
}
