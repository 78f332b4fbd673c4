// `foreshard model add|list|show|rm`: the models that the region keeps for its drivers.
#include <memory>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "app/model_file.h"
#include "app/region_models.h"
#include "base/units.h"
#include "cli/region_session.h"
#include "cli/table.h"
#include "policy/predict/neural/model_format.h"

namespace foreshard::cli {
namespace {

using runtime::Task;
using Fields = std::vector<std::pair<std::string, std::string>>;

// A foreign card need not be JSON; then it is shown as the text that it is.
Json card_json(const std::string& card) {
  Json value = Json::parse(card, nullptr, false);
  return value.is_discarded() ? Json(card) : value;
}

// What of a card fits in a line: how well the model did, and what it was trained on.
std::string summary_of(const std::string& text) {
  const Json card = Json::parse(text, nullptr, false);
  if (!card.is_object()) return {};
  std::string summary;
  const auto top_1 = Json::json_pointer("/test/model/top_1"), answers = Json::json_pointer("/test/answers");
  if (card.contains(top_1) && card.contains(answers) && card[top_1].is_number() && card[answers].is_number_unsigned()) {
    summary = fmt::format("top 1 {:.3f} of {}", card[top_1].get<double>(), card[answers].get<uint64_t>());
  }
  const auto data = card.find("data");
  if (data == card.end() || !data->is_array()) return summary;
  std::vector<std::string> names;
  for (const Json& one : *data) {
    if (one.is_object() && one.contains("name") && one["name"].is_string()) names.push_back(one["name"]);
  }
  return names.empty() ? summary : fmt::format("{}; {}", summary, fmt::join(names, ", "));
}

Json model_json(const meta::pb::Model& model) {
  return {{"number", model.number()},    {"kind", model.kind()},       {"predicts", model.symbols()},
          {"bytes", model.file_bytes()}, {"weights", model.weights()}, {"created", time_text(model.created_wall_ns())},
          {"summary", model.summary()}};
}

Task<Result<void>> add_model(RegionSession& session, std::string path) {
  CO_TRY(const policy::Model model, app::read_model_file(path));
  const Result<void> usable = app::check_for_volumes(model);
  if (!usable) co_return fail(ErrorCode::kInvalid, "model", path + ": " + usable.error().detail);
  std::vector<std::byte> file = policy::encode_model(model);
  app::RegionModels models(session.runtime(), session.meta());
  std::string summary = summary_of(model.card);
  CO_TRY(const meta::pb::Model added, co_await models.add(model, std::move(file), std::move(summary)));
  const std::string text = fmt::format("model {} is in the region: {} of {} weights, {}\n", added.number(),
                                       added.kind(), added.weights(), format_size(added.file_bytes()));
  session.invocation().print(model_json(added), session.invocation().quiet ? "" : text);
  co_return Result<void>();
}

Task<Result<void>> list_models(RegionSession& session) {
  app::RegionModels models(session.runtime(), session.meta());
  CO_TRY(const std::vector<app::RegionModels::Listed> listed, co_await models.list());
  using enum Table::Align;
  Table table({{"MODEL", kRight}, {"KIND"}, {"SIZE", kRight}, {"WEIGHTS", kRight}, {"CREATED"}, {"SUMMARY"}});
  Json list = Json::array();
  for (const app::RegionModels::Listed& one : listed) {
    const meta::pb::Model& model = one.model;
    list.push_back(model_json(model));
    table.add({std::to_string(model.number()), model.kind(), format_size(model.file_bytes()),
               std::to_string(model.weights()), time_text(model.created_wall_ns()), model.summary()});
  }
  session.invocation().print(list, list.empty() ? "the region has no models\n" : table.text());
  co_return Result<void>();
}

Task<Result<void>> show_model(RegionSession& session, uint64_t number) {
  app::RegionModels models(session.runtime(), session.meta());
  CO_TRY(const meta::pb::Model record, co_await models.find(number));
  CO_TRY(const std::vector<std::byte> file, co_await models.get(record));
  Result<policy::Model> model = policy::decode_model(file);
  if (!model) {
    co_return fail(model.error().code, "model", fmt::format("model {}: {}", number, model.error().detail));
  }
  Json value = model_json(record);
  value["card"] = card_json(model->card);
  const Fields fields = {{"number", std::to_string(number)},
                         {"kind", fmt::format("{}, over {}", record.kind(), record.symbols())},
                         {"size", format_size(record.file_bytes())},
                         {"created", time_text(record.created_wall_ns())},
                         {"summary", record.summary()}};
  session.invocation().print(value, fields_text(fields) + "\n" + model->card);
  co_return Result<void>();
}

Task<Result<void>> remove_model(RegionSession& session, uint64_t number) {
  app::RegionModels models(session.runtime(), session.meta());
  CO_TRY_VOID(co_await models.remove(number));
  const std::string text = fmt::format("model {} is removed; drivers that run it go on with it\n", number);
  session.invocation().print({{"number", number}, {"removed", true}}, session.invocation().quiet ? "" : text);
  co_return Result<void>();
}

void add_model_number(CLI::App& command, uint64_t& number) {
  command.add_option("NUMBER", number, "The model, as model list numbers it")
      ->required()
      ->check(CLI::Range(uint64_t{1}, uint64_t{INT64_MAX}))
      ->type_name("");
}

}  // namespace

void add_model_commands(CLI::App& app, Invocation& invocation) {
  CLI::App* model = app.add_subcommand("model", "Keep trained models in the region, for attach --model region");
  model->require_subcommand(1);

  auto path = std::make_shared<std::string>();
  CLI::App* add = model->add_subcommand("add", "Add a model made by foreshard train");
  add->add_option("FILE", *path, "The model")->required()->type_name("");
  add->footer(
      fmt::format("The newest {} of a kind are kept. Drivers attached with --model region take it if it does better\n"
                  "than their present one on what they were asked lately.\n\n"
                  "Example:\n  foreshard model add disks.model\n",
                  app::RegionModels::kKept));
  add->callback([&invocation, path] {
    invocation.run = [&invocation, path] {
      return with_region(invocation, [path](RegionSession& session) { return add_model(session, *path); });
    };
  });

  CLI::App* list = model->add_subcommand("list", "List the region's models, the oldest first");
  list->footer("Example:\n  foreshard model list -o json\n");
  list->callback([&invocation] { invocation.run = [&invocation] { return with_region(invocation, list_models); }; });

  auto number = std::make_shared<uint64_t>(0);
  CLI::App* show = model->add_subcommand("show", "Show a model's card, and that all of the model is there");
  add_model_number(*show, *number);
  show->footer("Example:\n  foreshard model show 3\n");
  show->callback([&invocation, number] {
    invocation.run = [&invocation, number] {
      return with_region(invocation, [number](RegionSession& session) { return show_model(session, *number); });
    };
  });

  CLI::App* rm = model->add_subcommand("rm", "Remove a model from the region");
  add_model_number(*rm, *number);
  rm->footer("Example:\n  foreshard model rm 3\n");
  rm->callback([&invocation, number] {
    invocation.run = [&invocation, number] {
      return with_region(invocation, [number](RegionSession& session) { return remove_model(session, *number); });
    };
  });
}

}  // namespace foreshard::cli
