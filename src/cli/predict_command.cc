// foreshard predict: what a volume's predictor knows, how far its probabilities can be trusted, and why it fetched or
// did not fetch; `backtest` is a file of its own.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "app/control_client.h"
#include "base/units.h"
#include "cli/driver_session.h"
#include "cli/table.h"

namespace foreshard::cli {
namespace {

using runtime::Task;

double seconds(const app::pb::Neural& neural) { return static_cast<double>(neural.cpu_ns()) / 1e9; }

Json reliability_json(const app::pb::Prefetch& prefetch) {
  Json bins = Json::array();
  for (const app::pb::ReliabilityBin& bin : prefetch.reliability()) {
    if (bin.pages() == 0) continue;
    bins.push_back({{"stated", bin.stated()},
                    {"true", static_cast<double>(bin.used()) / static_cast<double>(bin.pages())},
                    {"pages", bin.pages()}});
  }
  return bins;
}

// Whose knowledge a driver began with, in words.
std::string origin_of(const std::string& from) {
  if (from.starts_with("v-")) return "this volume";
  if (from.starts_with("i-")) return "VMs of image " + from.substr(2);
  return "nobody";
}

Json learned_json(const app::pb::Learned& learned) {
  Json value = {{"from", origin_of(learned.from())},
                {"requests", learned.requests()},
                {"recordings", learned.recordings()},
                {"saved_age_s", nullptr}};
  if (learned.saved()) value["saved_age_s"] = static_cast<double>(learned.saved_age_ns()) / 1e9;
  return value;
}

std::string learned_text(const app::pb::DriverStatus& status) {
  const app::pb::Learned& learned = status.learned();
  const std::string began = learned.from().empty()
                                ? "began with nothing learned before"
                                : fmt::format("began with {} requests and {} recordings of {}", learned.requests(),
                                              learned.recordings(), origin_of(learned.from()));
  const std::string saved =
      learned.saved() ? fmt::format("saved {} ago", format_duration_ns(learned.saved_age_ns())) : "not saved yet";
  return fmt::format("{}; {}; of {} recordings {} recognised at present\n", began, saved,
                     status.prefetch().recordings(), status.prefetch().recognised());
}

Json neural_json(const app::pb::Neural& neural) {
  return {{"model", neural.model()},
          {"models", neural.models()},
          {"observed", neural.observed()},
          {"steps", neural.steps()},
          {"skipped", neural.skipped()},
          {"dropped", neural.dropped()},
          {"proposed", neural.proposed()},
          {"overtaken", neural.overtaken()},
          {"cpu_s", seconds(neural)},
          {"cpu_share", neural.cpu_share()},
          {"cpu_share_max", neural.cpu_share_max()}};
}

Json training_json(const app::pb::OnlineTraining& training) {
  return {{"fault", training.fault()},        {"recorded", training.recorded()}, {"trainings", training.trainings()},
          {"replaced", training.replaced()},  {"kept", training.kept()},         {"failures", training.failures()},
          {"cpu_s", training.cpu_seconds()},  {"answers", training.answers()},   {"gain", training.gain()},
          {"deviation", training.deviation()}};
}

Json region_models_json(const app::pb::RegionModels& models) {
  return {{"followed", models.followed()}, {"adopted", models.adopted()}, {"refused", models.refused()},
          {"damaged", models.damaged()},   {"waiting", models.waiting()}, {"published", models.published()}};
}

void add_models(const app::pb::DriverStatus& status, Json& value) {
  if (status.has_neural()) value["neural"] = neural_json(status.neural());
  if (status.has_region_models()) value["region_models"] = region_models_json(status.region_models());
  if (status.has_training()) value["training"] = training_json(status.training());
}

std::string models_text(const app::pb::DriverStatus& status) {
  std::string text;
  if (status.has_neural()) {
    const app::pb::Neural& neural = status.neural();
    text += fmt::format(
        "model {}: {} reads seen, {} steps, {} skipped for want of CPU, {} dropped; {} ranges proposed, {} too late; "
        "{:.1f} s of CPU, {:.1f} % of at most {:.0f} %\n",
        neural.model(), neural.observed(), neural.steps(), neural.skipped(), neural.dropped(), neural.proposed(),
        neural.overtaken(), seconds(neural), neural.cpu_share() * 100, neural.cpu_share_max() * 100);
  }
  if (status.has_region_models() && status.region_models().followed()) {
    const app::pb::RegionModels& models = status.region_models();
    text += fmt::format("region's models: {} taken, {} no better, {} damaged", models.adopted(), models.refused(),
                        models.damaged());
    if (models.waiting() != 0) text += fmt::format("; model {} waits for more reads to compare on", models.waiting());
    text += "\n";
  }
  if (!status.has_training()) return text;
  const app::pb::OnlineTraining& training = status.training();
  if (!training.fault().empty()) return text + fmt::format("online training: none, {}\n", training.fault());
  text += fmt::format(
      "online training: {} requests recorded, {} trainings, {} went live, {} kept from it, {} failed; {} put into the "
      "region; {:.1f} s of CPU\n",
      training.recorded(), training.trainings(), training.replaced(), training.kept(), training.failures(),
      status.region_models().published(), training.cpu_seconds());
  if (training.deviation() == 0) return text;  // the first model was compared with nothing
  return text + fmt::format("the last one's loss was lower than the present one's by {:.3f} +- {:.3f} on {} answers\n",
                            training.gain(), training.deviation(), training.answers());
}

Task<Result<void>> show_status(RegionSession& session, std::string name) {
  CO_TRY(meta::pb::Attachment attachment, co_await attachment_of(session, name));
  CO_TRY(app::pb::DriverStatus status,
         co_await ask_driver<app::pb::DriverStatus>(session, attachment, app::kMethodDriverStatus, app::pb::Empty()));
  const app::pb::Prefetch& prefetch = status.prefetch();
  Json value = {{"volume", name},
                {"mode", prefetch.mode()},
                {"budget", prefetch.budget()},
                {"threshold", prefetch.threshold()},
                {"budget_tokens", prefetch.budget_tokens()},
                {"ece", prefetch.ece()},
                {"brier", prefetch.brier()},
                {"brier_base", prefetch.brier_base()},
                {"fetch_latency_us", static_cast<double>(prefetch.fetch_latency_ns()) / 1000},
                {"memory_bytes_max", prefetch.memory_bytes()},
                {"stops", prefetch.stops()},
                {"starts", prefetch.starts()},
                {"reliability", reliability_json(prefetch)}};
  value["recordings"] = prefetch.recordings();
  value["recognised"] = prefetch.recognised();
  value["learned_before"] = learned_json(status.learned());
  add_models(status, value);
  using enum Table::Align;
  Table table({{"STATED", kRight}, {"TRUE", kRight}, {"PAGES", kRight}, {""}});
  for (const app::pb::ReliabilityBin& bin : prefetch.reliability()) {
    if (bin.pages() == 0) continue;
    const double share = static_cast<double>(bin.used()) / static_cast<double>(bin.pages());
    table.add({fmt::format("{:.2f}", bin.stated()), fmt::format("{:.2f}", share),
               format_count(static_cast<double>(bin.pages())), bar(share, 20)});
  }
  const std::string text =
      fmt::format(
          "mode {}, budget {}: a page of a large request is fetched from probability {:.2f} on\n"
          "calibration error {:.3f}, Brier score {:.3f} (of the base rate {:.3f}); a fetch takes {:.0f} us; "
          "memory at most {}\n",
          prefetch.mode(), prefetch.budget(), prefetch.threshold(), prefetch.ece(), prefetch.brier(),
          prefetch.brier_base(), static_cast<double>(prefetch.fetch_latency_ns()) / 1000,
          format_size(prefetch.memory_bytes())) +
      learned_text(status) + models_text(status) + (prefetch.total().issued() == 0 ? "" : table.text());
  session.invocation().print(value, text);
  co_return Result<void>();
}

Task<Result<void>> explain(RegionSession& session, std::string name, size_t last) {
  CO_TRY(meta::pb::Attachment attachment, co_await attachment_of(session, name));
  CO_TRY(app::pb::ExplainReply reply,
         co_await ask_driver<app::pb::ExplainReply>(session, attachment, app::kMethodDriverExplain, app::pb::Empty()));
  using enum Table::Align;
  Table table({{"AGO", kRight},
               {"AFTER", kRight},
               {"PROPOSED", kRight},
               {"PAGES", kRight},
               {"FETCHED", kRight},
               {"PROBABILITY", kRight},
               {"ASKED", kRight},
               {"EXPERTS"},
               {"VERDICT"}});
  Json list = Json::array();
  for (const app::pb::ExplainReply::Decision& decision : reply.decisions()) {
    if (list.size() == last) break;
    list.push_back({{"age_s", static_cast<double>(decision.age_ns()) / 1e9},
                    {"trigger_page", decision.trigger_page()},
                    {"first_page", decision.first_page()},
                    {"pages", decision.pages()},
                    {"fetched", decision.fetched()},
                    {"probability", decision.probability()},
                    {"threshold", decision.threshold()},
                    {"experts", decision.experts()},
                    {"verdict", decision.verdict()}});
    table.add({fmt::format("{:.1f} s", static_cast<double>(decision.age_ns()) / 1e9),
               std::to_string(decision.trigger_page()), std::to_string(decision.first_page()),
               std::to_string(decision.pages()), std::to_string(decision.fetched()),
               fmt::format("{:.2f}", decision.probability()), fmt::format("{:.2f}", decision.threshold()),
               decision.experts(), decision.verdict()});
  }
  const std::string none = "nothing has been proposed yet: the volume was not read, or only from its cache\n";
  session.invocation().print(list, list.empty() ? none : table.text());
  co_return Result<void>();
}

}  // namespace

void add_predict_command(CLI::App& app, Invocation& invocation) {
  struct Options {
    std::string name;
    size_t last = 20;
  };
  auto options = std::make_shared<Options>();
  CLI::App* predict = app.add_subcommand(
      "predict", "See what a volume's predictor expects, how often it is right, and what others would do");
  predict->require_subcommand(1);
  CLI::App* status =
      predict->add_subcommand("status", "Threshold, budget, calibration and models of an attached volume");
  add_volume_name(*status, options->name);
  status->footer(
      "STATED is the probability that was given to fetched pages, TRUE the share of them that was read.\n\n"
      "Example:\n  foreshard predict status disk1\n");
  status->callback([&invocation, options] {
    invocation.run = [&invocation, options] {
      return with_region(invocation, [options](RegionSession& session) { return show_status(session, options->name); });
    };
  });
  CLI::App* why = predict->add_subcommand("explain", "Why the last proposals were fetched, or not");
  add_volume_name(*why, options->name);
  why->add_option("--last", options->last, "How many to show, the newest first; at most 128")
      ->type_name("N")
      ->capture_default_str();
  why->footer(
      "Pages are of 4 KiB. AFTER is the page of the request that led to the proposal; ASKED is the probability from\n"
      "which pages of a request of this size are fetched.\n\nExample:\n  foreshard predict explain disk1 --last 40\n");
  why->callback([&invocation, options] {
    invocation.run = [&invocation, options] {
      return with_region(invocation,
                         [options](RegionSession& session) { return explain(session, options->name, options->last); });
    };
  });
  add_backtest_command(*predict, invocation);
}

}  // namespace foreshard::cli
