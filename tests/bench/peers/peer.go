// The lines of bench_actors with goroutines and channels. Reads "LINE COUNT" a line from standard input, does the
// line's operation COUNT times, and prints how many nanoseconds it took; "actor_bytes COUNT" prints bytes instead.
// No context.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"
)

const (
	room  = 2048 // in a channel between senders and a receiver
	batch = 512
)

func pingpong(count uint64) {
	ping, pong := make(chan uint64), make(chan uint64)
	go func() {
		for n := range ping {
			pong <- n
		}
	}()
	for ; count > 0; count-- {
		ping <- count
		<-pong
	}
	close(ping)
}

func flow(senders, count uint64) {
	sink := make(chan uint64, room)
	each := (count + senders - 1) / senders
	for i := uint64(0); i < senders; i++ {
		go func() {
			for n := each; n > 0; n-- {
				sink <- n
			}
		}()
	}
	for n := each * senders; n > 0; n-- {
		<-sink
	}
}

func ring(count uint64) {
	const size = 503
	var links [size]chan uint64
	done := make(chan bool)
	for i := range links {
		links[i] = make(chan uint64)
	}
	for i := range links {
		go func(in, out chan uint64) {
			for n := range in {
				if n == 0 {
					done <- true
					return
				}
				out <- n - 1
			}
		}(links[i], links[(i+1)%size])
	}
	links[0] <- count
	<-done
	for i := range links {
		close(links[i])
	}
}

func asks(count, window uint64) {
	requests, replies := make(chan uint64, window), make(chan uint64, window)
	if window == 1 {
		requests, replies = make(chan uint64), make(chan uint64)
	}
	go func() {
		for n := range requests {
			replies <- n
		}
		close(replies)
	}()
	asked := uint64(0)
	for ; asked < window && asked < count; asked++ {
		requests <- asked
	}
	for got := uint64(0); got < count; got++ {
		<-replies
		if asked < count {
			requests <- asked
			asked++
		}
	}
	close(requests)
}

func spawn(count uint64) {
	credit := make(chan bool, 1)
	var finished uint64
	for left := count; left > 0; {
		n := left
		if n > batch {
			n = batch
		}
		target := finished + n
		for i := uint64(0); i < n; i++ {
			in := make(chan uint64, 1)
			go func() {
				if atomic.AddUint64(&finished, <-in) == target {
					credit <- true
				}
			}()
			in <- 1
		}
		<-credit
		left -= n
	}
}

func resident() uint64 {
	var size, pages uint64
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		panic(err)
	}
	fmt.Sscan(string(text), &size, &pages)
	return pages * uint64(os.Getpagesize())
}

func actorBytes(count uint64) uint64 {
	debug.FreeOSMemory()
	before := resident()
	all := make([]chan uint64, count)
	for i := range all {
		all[i] = make(chan uint64, 1)
		go func(in chan uint64) {
			for range in {
			}
		}(all[i])
	}
	after := resident()
	for i := range all {
		close(all[i])
	}
	return (after - before) / count
}

func main() {
	runtime.GOMAXPROCS(2)
	lines := bufio.NewReader(os.Stdin)
	for {
		var name string
		var count uint64
		if _, err := fmt.Fscan(lines, &name, &count); err != nil {
			return
		}
		begin := time.Now()
		switch name {
		case "pingpong":
			pingpong(count)
		case "oneway":
			flow(1, count)
		case "many":
			flow(8, count)
		case "ring":
			ring(count)
		case "ask1":
			asks(count, 1)
		case "ask64":
			asks(count, 64)
		case "spawn":
			spawn(count)
		case "actor_bytes":
			fmt.Println(actorBytes(count))
			continue
		default:
			panic(name)
		}
		fmt.Println(time.Since(begin).Nanoseconds())
	}
}
