// The lines of bench_actors with CAF's event-based actors. Reads "LINE COUNT" a line from standard input, does the
// line's operation COUNT times, and prints how many nanoseconds it took; "actor_bytes COUNT" prints bytes instead.
// No context.
#include <semaphore.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include <caf/all.hpp>

using namespace caf;

namespace {

using number = std::uint64_t;
using from_t = std::int64_t; // which sender; a type of its own, so that behaviours tell it from a number

constexpr number batch = 512;
constexpr number credits = 4;

sem_t done;

void wait() {
    while (sem_wait(&done) != 0) {
    }
}

void finish(std::vector<actor> &actors) {
    for (auto &each : actors)
        anon_send_exit(each, exit_reason::user_shutdown);
    actors.clear();
}

// Each line is of its actors, made once and kept: a round is nothing but messages.
struct lines {
    actor_system &system;

    void pingpong(number count) {
        static actor ping = [this] {
            actor pong = system.spawn([](event_based_actor *self) -> behavior {
                (void)self;
                return {[](number n) { return n; }};
            });
            return system.spawn([pong](event_based_actor *self) -> behavior {
                return {
                    [=](number n) {
                        if (n == 0)
                            sem_post(&done);
                        else
                            self->send(pong, n - 1);
                    },
                };
            });
        }();
        anon_send(ping, count);
        wait();
    }

    void flow(number senders, number count) {
        static std::vector<actor> kept;
        number each = (count + senders - 1) / senders;
        number total = each * senders;
        number share = batch / senders;
        auto sources = std::make_shared<std::vector<actor>>();
        actor sink = system.spawn([=](event_based_actor *self) -> behavior {
            auto got = std::make_shared<number>(0);
            return {
                [=](number) {
                    if (++*got == total)
                        sem_post(&done);
                },
                [=](from_t from) { // the last of a batch
                    self->send((*sources)[static_cast<size_t>(from)], number{1});
                    if (++*got == total)
                        sem_post(&done);
                },
            };
        });
        for (number i = 0; i < senders; i++)
            sources->push_back(system.spawn([=](event_based_actor *self) -> behavior {
                auto left = std::make_shared<number>(each);
                return {
                    [=](number credit) {
                        while (credit-- > 0 && *left > 0) {
                            number n = *left < share ? *left : share;
                            *left -= n;
                            while (--n > 0)
                                self->send(sink, n);
                            self->send(sink, static_cast<from_t>(i));
                        }
                    },
                };
            }));
        for (auto &source : *sources)
            anon_send(source, credits);
        wait();
        kept = *sources;
        kept.push_back(sink);
        finish(kept);
        sources->clear();
    }

    void ring(number count) {
        static actor first = [this] {
            actor head = system.spawn([](event_based_actor *self) -> behavior {
                auto next = std::make_shared<actor>();
                return {
                    [=](const actor &other) { *next = other; },
                    [=](number n) {
                        if (n == 0)
                            sem_post(&done);
                        else
                            self->send(*next, n - 1);
                    },
                };
            });
            actor next = head;
            for (int i = 1; i < 503; i++)
                next = system.spawn([next](event_based_actor *self) -> behavior {
                    return {
                        [=](number n) {
                            if (n == 0)
                                sem_post(&done);
                            else
                                self->send(next, n - 1);
                        },
                    };
                });
            anon_send(head, next);
            return head;
        }();
        anon_send(first, count);
        wait();
    }

    void asks(number count, number window) {
        static actor echo = system.spawn([](event_based_actor *self) -> behavior {
            (void)self;
            return {[](number n) { return n; }};
        });
        actor asker = system.spawn([=](event_based_actor *self) -> behavior {
            auto to_ask = std::make_shared<number>(count);
            auto to_get = std::make_shared<number>(count);
            auto ask = std::make_shared<std::function<void()>>();
            *ask = [=] {
                if (*to_ask == 0)
                    return;
                self->request(echo, infinite, (*to_ask)--).then([=](number) {
                    if (--*to_get > 0) {
                        (*ask)();
                        return;
                    }
                    *ask = nullptr; // it holds itself
                    sem_post(&done);
                    self->quit();
                });
            };
            return {
                [=](number n) {
                    auto once = *ask;
                    for (; n > 0; n--)
                        once();
                },
            };
        });
        anon_send(asker, window);
        wait();
    }

    void spawn(number count) {
        auto finished = std::make_shared<std::atomic<number>>(0);
        actor spawner = system.spawn([=](event_based_actor *self) -> behavior {
            auto left = std::make_shared<number>(count);
            auto target = std::make_shared<number>(0);
            return {
                [=](number) {
                    if (*left == 0) {
                        sem_post(&done);
                        self->quit();
                        return;
                    }
                    number n = *left < batch ? *left : batch;
                    *left -= n;
                    *target += n;
                    number last = *target;
                    actor me = self;
                    for (; n > 0; n--)
                        self->send(self->spawn([=](event_based_actor *child) -> behavior {
                            return {
                                [=](number one) {
                                    if (finished->fetch_add(one) + one == last)
                                        child->send(me, one);
                                    child->quit();
                                },
                            };
                        }), number{1});
                },
            };
        });
        anon_send(spawner, number{1});
        wait();
    }

    static number resident() {
        unsigned long size = 0, pages = 0;
        std::FILE *file = std::fopen("/proc/self/statm", "r");
        if (file == nullptr || std::fscanf(file, "%lu %lu", &size, &pages) != 2)
            std::abort();
        std::fclose(file);
        return static_cast<number>(pages) * static_cast<number>(sysconf(_SC_PAGESIZE));
    }

    number actor_bytes(number count) {
        number before = resident();
        std::vector<actor> all;
        all.reserve(count);
        for (number i = 0; i < count; i++)
            all.push_back(system.spawn([](event_based_actor *self) -> behavior {
                (void)self;
                return {[](number) {}};
            }));
        number after = resident();
        finish(all);
        return (after - before) / count;
    }
};

} // namespace

int main() {
    actor_system_config config;
    config.set("scheduler.max-threads", 2);
    actor_system system{config};
    lines run{system};
    sem_init(&done, 0, 0);
    std::string name;
    number count = 0;
    while (std::cin >> name >> count) {
        if (name == "actor_bytes") {
            std::cout << run.actor_bytes(count) << std::endl;
            continue;
        }
        auto begin = std::chrono::steady_clock::now();
        if (name == "pingpong")
            run.pingpong(count);
        else if (name == "oneway")
            run.flow(1, count);
        else if (name == "many")
            run.flow(8, count);
        else if (name == "ring")
            run.ring(count);
        else if (name == "ask1")
            run.asks(count, 1);
        else if (name == "ask64")
            run.asks(count, 64);
        else if (name == "spawn")
            run.spawn(count);
        else
            std::abort();
        auto took = std::chrono::steady_clock::now() - begin;
        std::cout << std::chrono::duration_cast<std::chrono::nanoseconds>(took).count() << std::endl;
    }
    std::fflush(stdout);
    _exit(0); // actors that are kept would be waited for
}
