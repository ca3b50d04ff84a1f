%% The lines of bench_actors in Erlang. Reads "LINE COUNT" a line from standard input, does the line's operation
%% COUNT times, and prints how many nanoseconds it took; "actor_bytes COUNT" prints bytes instead. No context.
-module(bench_peer).
-export([main/0]).

main() ->
    case io:get_line("") of
        eof ->
            halt(0);
        Line ->
            [Name, Count] = string:lexemes(string:trim(Line), " "),
            io:format("~b~n", [measure(Name, list_to_integer(Count))]),
            main()
    end.

measure("actor_bytes", Count) ->
    Before = resident(),
    Pids = [spawn(fun idle/0) || _ <- lists:seq(1, Count)],
    After = resident(),
    [exit(Pid, kill) || Pid <- Pids],
    (After - Before) div Count;
measure(Name, Count) ->
    Begin = erlang:monotonic_time(nanosecond),
    run(Name, Count),
    erlang:monotonic_time(nanosecond) - Begin.

%% The emulator's own figure counts what it may still use itself; what the machine gave it is what counts.
resident() ->
    {ok, Text} = file:read_file("/proc/self/statm"),
    [_, Pages | _] = string:lexemes(Text, " "),
    binary_to_integer(Pages) * 4096.

idle() -> receive stop -> ok end.

await(0) -> ok;
await(N) -> receive done -> await(N - 1) end.

%% ---- two that send a number back and forth

run("pingpong", Count) ->
    Main = self(),
    Pong = spawn(fun pong/0),
    spawn(fun() -> ping(Pong, Count), Pong ! stop, Main ! done end),
    await(1);

%% ---- senders with credit, one receiver

run("oneway", Count) -> flow(1, Count);
run("many", Count) -> flow(8, (Count + 7) div 8 * 8);

%% ---- a token that goes round

run("ring", Count) ->
    Main = self(),
    First = spawn(fun() -> receive {next, Next} -> link_of(Next, Main) end end),
    Last = lists:foldl(fun(_, Next) -> spawn(fun() -> link_of(Next, Main) end) end, First, lists:seq(2, 503)),
    First ! {next, Last},
    Last ! Count,
    await(1),
    First ! stop;

%% ---- a question and its answer: bare messages, without the reference and the monitor of gen_server:call

run("ask1", Count) -> asks(Count, 1);
run("ask64", Count) -> asks(Count, 64);

%% ---- spawn, one message, stop

run("spawn", Count) ->
    Main = self(),
    Finished = atomics:new(1, []),
    spawn(fun() -> spawner(Count, Finished), Main ! done end),
    await(1).

pong() ->
    receive
        {From, N} -> From ! N, pong();
        stop -> ok
    end.

ping(_, 0) -> ok;
ping(Pong, N) ->
    Pong ! {self(), N},
    receive N -> ping(Pong, N - 1) end.

flow(Senders, Count) ->
    Main = self(),
    Sink = spawn(fun() -> sink(Count, 0), Main ! done end),
    [spawn(fun() -> source(Sink, Count div Senders, 4, 512 div Senders) end) || _ <- lists:seq(1, Senders)],
    await(1).

source(_, 0, _, _) -> ok;
source(Sink, Left, 0, Batch) -> receive credit -> source(Sink, Left, 1, Batch) end;
source(Sink, Left, Credit, Batch) ->
    N = min(Batch, Left),
    batch(Sink, N),
    source(Sink, Left - N, Credit - 1, Batch).

batch(Sink, 1) -> Sink ! {self(), 1};
batch(Sink, N) -> Sink ! N, batch(Sink, N - 1).

sink(Count, Count) -> ok;
sink(Count, Got) ->
    receive
        {From, _} -> From ! credit, sink(Count, Got + 1);
        _ -> sink(Count, Got + 1)
    end.

link_of(Next, Main) ->
    receive
        stop -> Next ! stop;
        0 -> Main ! done, link_of(Next, Main);
        N -> Next ! N - 1, link_of(Next, Main)
    end.

asks(Count, Window) ->
    Main = self(),
    Echo = spawn(fun pong/0),
    spawn(fun() ->
        First = min(Window, Count),
        [Echo ! {self(), N} || N <- lists:seq(1, First)],
        asker(Echo, Count - First, Count),
        Echo ! stop,
        Main ! done
    end),
    await(1).

asker(_, _, 0) -> ok;
asker(Echo, 0, ToGet) -> receive _ -> asker(Echo, 0, ToGet - 1) end;
asker(Echo, ToAsk, ToGet) ->
    receive _ -> Echo ! {self(), ToAsk}, asker(Echo, ToAsk - 1, ToGet - 1) end.

spawner(0, _) -> ok;
spawner(Left, Finished) ->
    N = min(512, Left),
    Self = self(),
    Target = atomics:get(Finished, 1) + N,
    [spawn(fun() -> short_lived(Self, Target, Finished) end) ! 1 || _ <- lists:seq(1, N)],
    receive credit -> spawner(Left - N, Finished) end.

short_lived(Spawner, Target, Finished) ->
    receive
        N ->
            %% In one step: of two that add and then look, none may see the target.
            case atomics:add_get(Finished, 1, N) of
                Target -> Spawner ! credit;
                _ -> ok
            end
    end.
