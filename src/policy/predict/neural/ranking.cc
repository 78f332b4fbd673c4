#include "policy/predict/neural/ranking.h"

#include <algorithm>

namespace foreshard::policy {

void rank_answers(const TokenStream& stream, std::span<float> probabilities, uint32_t count_max,
                  std::vector<RankedAnswer>& ranked) {
  ranked.clear();
  for (const uint32_t answer : {kAnswerHistory2, kAnswerHistory}) {
    const std::optional<int64_t> symbol = stream.symbol_of_answer(answer);
    if (!symbol) {
      probabilities[answer] = 0;
      continue;
    }
    if (answer == kAnswerHistory2 && symbol == stream.symbol_of_answer(kAnswerHistory)) {
      probabilities[kAnswerHistory] += probabilities[answer];
      probabilities[answer] = 0;
    } else if (const std::optional<uint32_t> same = stream.vocabulary().find(*symbol)) {
      probabilities[answer] += probabilities[kAnswerVocabulary + *same];
      probabilities[kAnswerVocabulary + *same] = 0;
    }
  }
  // By insertion: few are wanted, and hardly any answer gets past the comparison with the last of them.
  for (uint32_t answer = kAnswerHistory; answer < probabilities.size(); ++answer) {
    const float probability = probabilities[answer];
    if (!(probability > 0)) continue;
    if (ranked.size() == count_max && probability <= ranked.back().probability) continue;
    if (ranked.size() < count_max) ranked.emplace_back();
    size_t place = ranked.size() - 1;
    for (; place > 0 && ranked[place - 1].probability < probability; --place) ranked[place] = ranked[place - 1];
    ranked[place] = {answer, probability};
  }
}

uint32_t likeliest(std::span<const float> probabilities) {
  return static_cast<uint32_t>(std::max_element(probabilities.begin(), probabilities.end()) - probabilities.begin());
}

}  // namespace foreshard::policy
