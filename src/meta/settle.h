// R-TXN: how a transaction whose answer got lost comes to a certain end.
#pragma once

#include <functional>

#include "meta/meta.h"

namespace foreshard::meta {

// Whether an entry shows that the transaction being settled wrote it: usually, that it carries its nonce.
using IsMine = std::function<bool(const Entry&)>;

// Commits; while the outcome is unknown (kTimeout, kUnavailable) or refused for the moment (kBusy), resubmits the
// identical transaction with growing pauses. If compares fail after an unknown outcome, the key `mine_key` is read
// again: when `mine` accepts it the transaction had succeeded (at the entry's revision). The answer is certain,
// unless it is kTimeout: then the deadline came first, the outcome is still unknown, and nothing that depends on
// it may proceed. The transaction's compares must fail once it has happened (they compare what it changes), and
// nobody else may write `mine_key` meanwhile: else what was mine may be overwritten before it is read again, and
// counts as failed though it happened. Where others do write, a key of one's own goes into the transaction.
runtime::Task<Result<TransactionResult>> commit_settled(runtime::Runtime& runtime, Meta& meta,
                                                        Transaction transaction, std::string mine_key, IsMine mine,
                                                        uint64_t deadline_ns = UINT64_MAX);

// The usual case: it was mine if the first key that the transaction puts holds exactly the value put (values carry
// nonces); the same caution about other writers. A transaction without a put was mine if the first key that it
// erases is gone.
runtime::Task<Result<TransactionResult>> commit_settled(runtime::Runtime& runtime, Meta& meta,
                                                        Transaction transaction, uint64_t deadline_ns = UINT64_MAX);

}  // namespace foreshard::meta
