#include "decode/bias.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include "base/error.h"

namespace voxtral_edge {
namespace {

struct Building {
  std::map<std::uint32_t, std::size_t> children;  // token -> building node
  float bonus = 0.0f;                             // largest of the spellings through this node
  bool opening = true;                            // all phrases through this node are openings
};

void check(const BiasSpelling& spelling, std::size_t number) {
  const std::string where = "hotwords: spelling " + std::to_string(number);
  if (spelling.ids.empty()) throw Error(ErrorCode::usage, where + " has no tokens");
  if (spelling.bonuses.size() != spelling.ids.size()) {
    throw Error(ErrorCode::usage, where + " has " + std::to_string(spelling.ids.size()) + " tokens but " +
                                      std::to_string(spelling.bonuses.size()) + " bonuses");
  }
  for (const float bonus : spelling.bonuses) {
    if (!(bonus >= 0.0f && bonus <= BiasTree::kMaxBonus)) {
      throw Error(ErrorCode::usage, where + ": bonus " + std::to_string(bonus) + " is not in 0 .. 20");
    }
  }
}

}  // namespace

BiasTree::BiasTree(std::span<const BiasSpelling> spellings) {
  std::vector<Building> building(1);
  for (std::size_t s = 0; s < spellings.size(); ++s) {
    const BiasSpelling& spelling = spellings[s];
    check(spelling, s);
    std::size_t node = 0;
    for (std::size_t i = 0; i < spelling.ids.size(); ++i) {
      auto [found, inserted] = building[node].children.try_emplace(spelling.ids[i], building.size());
      node = found->second;
      if (inserted) {
        if (building.size() == kMaxNodes) {
          throw Error(ErrorCode::usage,
                      "hotwords: more than " + std::to_string(kMaxNodes) + " tokens; give fewer phrases");
        }
        building.emplace_back();
      }
      building[node].bonus = std::max(building[node].bonus, spelling.bonuses[i]);
      building[node].opening = building[node].opening && spelling.opening;
    }
    depth_ = std::max(depth_, spelling.ids.size());
  }
  nodes_.resize(building.size());
  children_.reserve(building.size());
  for (std::size_t n = 0; n < building.size(); ++n) {
    nodes_[n] = {static_cast<std::uint32_t>(children_.size()), static_cast<std::uint32_t>(building[n].children.size())};
    for (const auto& [id, node] : building[n].children) {
      children_.push_back(
          {id, static_cast<std::uint32_t>(node), building[node].bonus, n == 0 && building[node].opening});
    }
  }
}

std::span<const BiasTree::Child> BiasTree::children(std::uint32_t node) const {
  return {children_.data() + nodes_[node].first_child, nodes_[node].child_count};
}

const BiasTree::Child* BiasTree::child(std::uint32_t node, std::uint32_t id) const {
  const auto all = children(node);
  const auto found =
      std::lower_bound(all.begin(), all.end(), id, [](const Child& c, std::uint32_t i) { return c.id < i; });
  return found != all.end() && found->id == id ? &*found : nullptr;
}

Biaser::Biaser(std::shared_ptr<const BiasTree> tree) : tree_(std::move(tree)) {
  active_.reserve(tree_->depth() + 1);
  next_.reserve(tree_->depth() + 1);
  reset();
}

void Biaser::reset() { active_.assign(1, 0); }  // the root: a phrase may begin at any text token

TokenChoice Biaser::choose(TokenChoice unbiased, const float* logits, bool text_started) const {
  TokenChoice best = unbiased;
  float best_score = logits[unbiased.id];
  for (const std::uint32_t node : active_) {
    for (const BiasTree::Child& child : tree_->children(node)) {
      if (child.opening && text_started) continue;
      const float score = logits[child.id] + child.bonus;
      if (score <= best_score) continue;
      const float probability = unbiased.probability * std::exp(logits[child.id] - logits[unbiased.id]);
      const float others = 1.0f - unbiased.probability - probability;
      if (child.id != unbiased.id && probability * std::exp(child.bonus) <= kLeastLead * others) continue;
      best = {child.id, probability};
      best_score = score;
    }
  }
  return best;
}

void Biaser::advance(std::uint32_t id, bool text_started) {
  next_.assign(1, 0);
  for (const std::uint32_t node : active_) {
    const BiasTree::Child* child = tree_->child(node, id);
    if (child == nullptr || (child->opening && text_started)) continue;
    if (!tree_->children(child->node).empty()) next_.push_back(child->node);
  }
  std::swap(active_, next_);
}

}  // namespace voxtral_edge
