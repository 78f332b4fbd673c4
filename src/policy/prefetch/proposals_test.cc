// Shows that what is gathered is what plain sets and maps say: every page that somebody proposes, once, with all
// opinions, with how many pages its largest request lacks; none that is there, of the request itself or beyond the
// volume; and that bounds hold for candidates of every size and place.
#include "policy/prefetch/proposals.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/random.h"

namespace foreshard::policy {
namespace {

Observation read_of(uint64_t first, uint32_t pages) {
  Observation observation;
  observation.first_page = first;
  observation.pages = pages;
  return observation;
}

Candidate candidate_of(uint64_t first, uint32_t pages, uint8_t expert = 0, uint8_t rank = 0) {
  Candidate candidate;
  candidate.first_page = first;
  candidate.pages = pages;
  candidate.expert = expert;
  candidate.rank = rank;
  candidate.context = static_cast<uint16_t>(first % 1000);
  return candidate;
}

TEST(Proposals, AreWhatPlainSetsSay) {
  Random random(3);
  Proposals proposals;
  for (int turn = 0; turn < 3000; ++turn) {
    const uint64_t base = random.chance(0.5) ? 1000 : kPageNumbers - 2000;
    const Observation request = read_of(base + random.below(60), static_cast<uint32_t>(random.between(1, 30)));
    const uint64_t volume_pages = random.chance(0.5) ? base + 60 : UINT64_MAX;
    std::set<uint64_t> cached;
    for (int i = 0; i < 20; ++i) cached.insert(base + random.below(80));
    std::vector<Candidate> candidates;
    for (uint64_t i = random.below(12); i > 0; --i) {
      candidates.push_back(candidate_of(base + random.below(80), static_cast<uint32_t>(random.below(20)),
                                        static_cast<uint8_t>(random.below(11)), static_cast<uint8_t>(random.below(2))));
      if (random.chance(0.3)) candidates.back().request_pages = static_cast<uint32_t>(random.between(1, 8));
    }
    // The model: pages in the order of their first proposal, and runs of what is missing.
    struct Expected {
      uint32_t missing = 0, pages = 0;
      uint64_t offset = 0;
      std::vector<std::pair<uint32_t, uint16_t>> opinions;  // source, context; the first of each source
    };
    std::map<uint64_t, Expected> expected;
    std::vector<std::vector<uint64_t>> runs;
    for (const Candidate& candidate : candidates) {
      std::vector<uint64_t> run;
      for (uint64_t page = candidate.first_page; page < candidate.first_page + candidate.pages; ++page) {
        const bool own = page >= request.first_page && page < request.first_page + request.pages;
        if (!own && page < volume_pages && !cached.contains(page)) run.push_back(page);
      }
      if (run.empty()) continue;
      for (const uint64_t page : run) {
        const auto [place, fresh] = expected.try_emplace(page);
        Expected& of = place->second;
        if (fresh) of.offset = page - candidate.first_page;
        auto missing = static_cast<uint32_t>(run.size());
        if (candidate.request_pages != 0) missing = std::min(missing, candidate.request_pages);
        if (missing > of.missing) {
          of.missing = missing;
          of.pages = candidate.pages;
        }
        const uint32_t source = candidate.expert * 2u + candidate.rank;
        const bool known =
            std::any_of(of.opinions.begin(), of.opinions.end(), [&](const auto& o) { return o.first == source; });
        if (!known && of.opinions.size() < Proposal::kOpinionsMax) of.opinions.push_back({source, candidate.context});
      }
      runs.push_back(run);
    }
    proposals.gather(request, candidates, volume_pages,
                     [&](uint64_t page) { return cached.contains(page) ? PageState::kThere : PageState::kNeeded; });
    ASSERT_EQ(proposals.pages().size(), expected.size());
    for (const Proposal& proposal : proposals.pages()) {
      const auto known = expected.find(proposal.page);
      ASSERT_NE(known, expected.end()) << proposal.page;
      ASSERT_EQ(proposal.missing, known->second.missing);
      ASSERT_EQ(proposal.pages, known->second.pages);
      ASSERT_EQ(proposal.offset, known->second.offset);
      ASSERT_EQ(proposal.opinions, known->second.opinions.size());
      uint32_t sources = 0;
      for (uint32_t i = 0; i < proposal.opinions; ++i) {
        ASSERT_EQ(proposal.opinion[i].source, known->second.opinions[i].first);
        ASSERT_EQ(proposal.opinion[i].context, known->second.opinions[i].second);
        sources |= 1u << proposal.opinion[i].source;
      }
      ASSERT_EQ(proposal.sources, sources);
    }
    ASSERT_EQ(proposals.runs(), runs.size());
    for (size_t i = 0; i < runs.size(); ++i) {
      std::vector<uint64_t> pages;
      for (const uint16_t number : proposals.run(i)) pages.push_back(proposals.pages()[number].page);
      ASSERT_EQ(pages, runs[i]);
    }
  }
}

void expect_sound(const Proposals& proposals, const Observation& request, uint64_t volume_pages) {
  ASSERT_LE(proposals.pages().size(), Proposals::kPagesMax);
  std::set<uint64_t> pages;
  for (const Proposal& proposal : proposals.pages()) {
    ASSERT_TRUE(pages.insert(proposal.page).second);
    ASSERT_LT(proposal.page, volume_pages);
    ASSERT_GE(proposal.page - request.first_page, request.pages);  // wraps around for what lies before
    ASSERT_GE(proposal.missing, 1u);
    ASSERT_LE(proposal.missing, Proposals::kRunPagesMax);
    ASSERT_GE(proposal.opinions, 1);
    ASSERT_LE(proposal.opinions, Proposal::kOpinionsMax);
  }
  for (size_t i = 0; i < proposals.runs(); ++i) {
    ASSERT_FALSE(proposals.run(i).empty());
    ASSERT_LE(proposals.run(i).size(), Proposals::kRunPagesMax);
    for (const uint16_t number : proposals.run(i)) ASSERT_LT(number, proposals.pages().size());
  }
}

TEST(Proposals, KeepTheirBoundsForCandidatesOfEverySizeAndPlace) {
  Random random(7);
  Proposals proposals;
  const uint64_t bases[] = {100, uint64_t{1} << 52, kPageNumbers, uint64_t{1} << 63, UINT64_MAX};
  for (int turn = 0; turn < 2000; ++turn) {
    const uint64_t base = bases[random.below(std::size(bases))];
    const auto size = [&] {
      return random.chance(0.3) ? UINT32_MAX - static_cast<uint32_t>(random.below(3))
                                : static_cast<uint32_t>(random.below(300));
    };
    const Observation request = read_of(base - random.below(100), size());
    std::vector<Candidate> candidates;
    for (uint64_t i = random.below(100); i > 0; --i) {
      const auto expert = static_cast<uint8_t>(random.below(11));
      candidates.push_back(candidate_of(base - 100 + random.below(2000), size(), expert));
    }
    const uint64_t volume_pages = random.chance(0.5) ? UINT64_MAX : base;
    uint64_t asked = 0;
    proposals.gather(request, candidates, volume_pages,
                     [&](uint64_t) { return ++asked % 3 == 0 ? PageState::kThere : PageState::kNeeded; });
    ASSERT_NO_FATAL_FAILURE(expect_sound(proposals, request, volume_pages));
    ASSERT_LE(asked, 2048u);
  }
}

TEST(Proposals, AreNeverOfTheRequestHoweverLargeItIs) {
  Proposals proposals;
  const Observation request = read_of(1000, 5000);
  std::vector<Candidate> candidates;
  for (uint64_t first = 900; first < 6100; first += 100) candidates.push_back(candidate_of(first, 20));
  proposals.gather(request, candidates, UINT64_MAX, [](uint64_t) { return PageState::kNeeded; });
  ASSERT_NO_FATAL_FAILURE(expect_sound(proposals, request, UINT64_MAX));
  ASSERT_EQ(proposals.pages().size(), 40u);  // those before it and those behind it
  EXPECT_EQ(proposals.pages()[0].page, 900u);
  EXPECT_EQ(proposals.pages()[20].page, 6000u);
}

TEST(Proposals, WhatIsProposedAgainAndAgainTakesNoMoreMemory) {
  Proposals proposals;
  const std::vector<Candidate> candidates(100'000, candidate_of(5000, 128));
  proposals.gather(read_of(1, 1), candidates, UINT64_MAX, [](uint64_t) { return PageState::kNeeded; });
  ASSERT_NO_FATAL_FAILURE(expect_sound(proposals, read_of(1, 1), UINT64_MAX));
  EXPECT_EQ(proposals.pages().size(), 128u);
  EXPECT_LE(proposals.memory_bytes(), Proposals::kBytesMax);
}

}  // namespace
}  // namespace foreshard::policy
