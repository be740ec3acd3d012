// SPDX-License-Identifier: Apache-2.0
#include "core/serve/server.h"

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <thread>

#include <fcntl.h>
#include <unistd.h>

#include "core/run/error.h"
#include "core/serve/failure.h"
#include "core/serve/line_reader.h"
#include "core/serve/memory_use.h"
#include "core/serve/requests.h"
#include "core/serve/writer.h"
#include "kernels/cuda_library.h"

namespace flashmorph {

namespace {

using Clock = std::chrono::steady_clock;

// Answers beyond this wait in the pipe of the client instead of our memory.
constexpr size_t kMostUnread = size_t{32} << 20;

// Nothing a job throws ends the engine.
void run_job(Engine& engine, JobQueue::Task& task) {
  const std::string id = task.turn.id.to_string();
  engine.pulse.begin(id, task.turn.stop);
  const int64_t loaded_before = engine.model.info().bytes;
  std::atomic<bool> done{false};
  std::atomic<int64_t> held{0};
  // What a stopped job gives back is told from what was held while it ran.
  std::thread sampler([&] {
    while (!done) {
      held = std::max(held.load(), held_bytes(engine.model.device()));
      for (int i = 0; i < 10 && !done; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  });
  WorkEnd end = WorkEnd::finished;
  std::optional<Error> error;
  try {
    end = task.work(task.turn);
  } catch (...) {
    const auto status = engine.queue.find(task.turn.id);
    error = error_of(std::current_exception(), status ? status->spec.kind : "serve");
  }
  done = true;
  sampler.join();
  task.work = nullptr;
  release_cached_memory(engine.model.device());
  const int64_t freed = std::max<int64_t>(0, held - held_bytes(engine.model.device()));
  engine.pulse.end();
  if (error && error->code() == ErrorCode::device_lost) engine.model.unload();
  engine.queue.done(task.turn.id, end, error,
                    loaded_before > 0 || error || end == WorkEnd::stopped ? freed : 0);
}

void work(Engine& engine) {
  while (auto task = engine.queue.take()) {
    if (task->chore) {
      task->chore();
      engine.queue.chore_done();
    } else {
      run_job(engine, *task);
    }
  }
}

void beat(Engine& engine) {
  const WorkerPulse::Reading pulse = engine.pulse.read();
  HeartbeatEvent event;
  event.t_s = engine.seconds();
  event.job = pulse.job;
  event.step = pulse.step;
  event.worker_age_s = pulse.age_s;
  event.rss_bytes = resident_bytes_now();
  if (const int64_t used = engine.gpu_used_bytes; used >= 0) event.gpu_used_bytes = used;
  engine.outbox.tell(event);
}

// Asking the driver may wait for the device, so it is nobody's job but this thread's.
void watch_gpu(Engine& engine, const std::atomic<bool>& over) {
  while (!over) {
    const auto memory = device_memory(engine.model.device());
    engine.gpu_used_bytes = memory ? memory->used_bytes : -1;
    for (int i = 0; i < 10 && !over; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

}  // namespace

int take_stdout() {
  std::fflush(stdout);
  const int wire = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
  if (wire < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
    throw Error("serve", ErrorCode::internal,
                std::string("stdout cannot be taken over: ") + std::strerror(errno));
  return wire;
}

int serve(const ServeOptions& options, const StopFlag& stop) {
  kernels::load_cuda();
  Engine engine(options.runs);
  Writer writer(engine.outbox, options.output);
  int code = -1;  // the program's, once somebody asked to leave
  {
    Clerk clerk;
    Dispatcher dispatcher(engine.outbox, clerk);
    add_engine_methods(dispatcher, engine, [&](int with) { code = with; });
    add_model_methods(dispatcher, engine);
    add_run_methods(dispatcher, engine);
    add_file_methods(dispatcher, engine);
    add_start_methods(dispatcher, engine);
    add_job_methods(dispatcher, engine);
    std::thread worker([&] { work(engine); });
    std::atomic<bool> over{false};
    std::thread watcher;
    if (kernels::load_cuda().available) watcher = std::thread([&] { watch_gpu(engine, over); });

    LineReader reader(options.input, kMaxLineBytes - 1);
    auto next_beat = Clock::now() + options.heartbeat;
    const auto beat_if_due = [&] {
      if (Clock::now() < next_beat) return;
      if (dispatcher.greeted()) beat(engine);
      next_beat = Clock::now() + options.heartbeat;
    };
    while (code < 0 && !stop.is_set() && !writer.broken()) {
      beat_if_due();
      if (engine.outbox.bytes() > kMostUnread) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        continue;
      }
      std::string_view line;
      const LineReader::Got got = reader.next(line, std::chrono::milliseconds(100));
      if (got == LineReader::Got::end) break;
      if (got == LineReader::Got::too_long) dispatcher.too_long();
      if (got == LineReader::Got::line) dispatcher.take(line);
    }
    engine.leaving.set();
    clerk.stop();  // starts that were asked for are queued, then cancelled with the rest
    engine.queue.stop();
    std::atomic<bool> saved{false};
    std::thread leaver([&] {
      worker.join();
      saved = true;
    });
    while (!saved) {
      beat_if_due();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    leaver.join();
    over = true;
    if (watcher.joinable()) watcher.join();
  }
  return std::max(code, 0);
}

}  // namespace flashmorph
