// Single questions to a control socket: connect, ask, close.
#pragma once

#include <string>

#include "app/control_messages.h"

namespace foreshard::app {

template <class Answer, class Question>
runtime::Task<Result<Answer>> ask_control(runtime::Runtime& runtime, std::string address, uint16_t method,
                                          Question question, uint64_t deadline_ns) {
  CO_TRY(std::shared_ptr<rpc::Channel> channel, co_await rpc::Channel::connect(runtime, address, deadline_ns));
  Result<Answer> answer = co_await call_control<Answer>(*channel, method, std::move(question), deadline_ns);
  co_await channel->close();
  co_return answer;
}

}  // namespace foreshard::app
