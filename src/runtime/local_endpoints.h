// LocalEndpoints: listeners with names inside one process ("local:name"), joined by pairs. One executor's.
// Owner: the network. Listeners must end before it does; connections live on their own.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "runtime/io.h"

namespace foreshard::runtime {

class LocalEndpoints {
 public:
  explicit LocalEndpoints(Executor& executor) : executor_(executor) {}
  LocalEndpoints(const LocalEndpoints&) = delete;
  LocalEndpoints& operator=(const LocalEndpoints&) = delete;
  ~LocalEndpoints();
  // kBusy when the name is taken.
  Result<std::unique_ptr<Listener>> listen(const std::string& name);
  // kUnavailable when nobody listens under that name, or too many wait there to be accepted.
  Result<std::unique_ptr<Connection>> connect(const std::string& name);

 private:
  class LocalListener;
  Executor& executor_;
  std::map<std::string, LocalListener*> listeners_;
};

}  // namespace foreshard::runtime
