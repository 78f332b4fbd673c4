// meta_edit: reads and writes the metadata of a region that runs, as raw keys and values, for tests that damage it.
//   meta_edit REGION get KEY FILE    writes the key's value to the file
//   meta_edit REGION put KEY FILE    makes what is in the file the key's value
//   meta_edit REGION erase KEY
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "base/log.h"
#include "meta/remote_meta.h"
#include "runtime/real_runtime.h"

namespace foreshard {
namespace {

using runtime::Task;

struct Request {
  std::string verb, key, path;
};

Task<Result<void>> get(meta::Meta& meta, Request request) {
  CO_TRY(const std::optional<meta::Entry> entry, co_await meta.get(request.key));
  if (!entry) co_return fail(ErrorCode::kNotFound, "key", request.key);
  std::ofstream out(request.path, std::ios::binary);
  out << entry->value;
  if (!out.flush()) co_return fail(ErrorCode::kIo, "file", request.path);
  co_return Result<void>();
}

Task<Result<void>> change(meta::Meta& meta, Request request) {
  meta::Operation operation{meta::Operation::Kind::kErase, request.key, {}, 0};
  if (request.verb == "put") {
    std::ifstream in(request.path, std::ios::binary);
    if (!in) co_return fail(ErrorCode::kNotFound, "file", request.path);
    operation.kind = meta::Operation::Kind::kPut;
    operation.value.assign(std::istreambuf_iterator<char>(in), {});
  }
  meta::Transaction transaction;
  transaction.operations.push_back(std::move(operation));
  CO_TRY_VOID(co_await meta.commit(std::move(transaction)));
  co_return Result<void>();
}

Task<Result<void>> serve(runtime::Runtime& world, std::string region, Request request) {
  const std::unique_ptr<meta::RemoteMeta> meta = meta::RemoteMeta::create(world, region);
  Result<void> done;
  if (request.verb == "get") {
    done = co_await get(*meta, request);
  } else {
    done = co_await change(*meta, request);
  }
  co_await meta->close();
  co_return done;
}

int run(const std::string& region, const Request& request) {
  Result<std::unique_ptr<runtime::RealRuntime>> world = runtime::RealRuntime::create();
  const Result<void> done = world ? (*world)->run(serve(**world, region, request)) : fail(world.error());
  if (done) return 0;
  std::fprintf(stderr, "meta_edit: %s\n", done.error().message().c_str());
  return 1;
}

}  // namespace
}  // namespace foreshard

int main(int argc, char** argv) {
  const std::string verb = argc > 2 ? argv[2] : "";
  const int words = verb == "get" || verb == "put" ? 5 : verb == "erase" ? 4 : 0;
  if (argc != words) {
    std::fprintf(stderr, "usage: meta_edit REGION get KEY FILE | put KEY FILE | erase KEY\n");
    return 2;
  }
  foreshard::set_log_level(foreshard::LogLevel::kWarn);
  return foreshard::run(argv[1], {verb, argv[3], words == 5 ? argv[4] : ""});
}
