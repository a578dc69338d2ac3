//! The groups of the cluster. The root group's log creates them, so names are unique and numbers
//! are given out once.

use bailiwick_replication::GroupId;
use bailiwick_replication::consensus::Member;

use super::{Authority, GroupRecord, ROOT, Refusal};
use crate::state::MAX_MEMBERS;

/// The longest name of a group, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// The number of a group's first configuration, which the root group fixes; further ones come with
/// changes of members.
const FIRST_CONFIGURATION: u32 = 1;

impl Authority {
    /// Creates a group with these members, or finds the one that was created alike.
    pub fn create_group(&mut self, name: &[u8], members: &[Member]) -> Result<GroupId, Refusal> {
        self.check_root()?;
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(Refusal::Invalid("the name of a group has 1 to 128 bytes"));
        }
        let members = sorted(members)?;
        let found = self.groups.iter().find(|(_, group)| *group.name == *name);
        if let Some((&id, group)) = found {
            // Members that came later do not make it another group.
            return if group.founders == members {
                Ok(id)
            } else {
                Err(Refusal::GroupExists(name.to_vec(), id))
            };
        }
        let last = self.groups.last_key_value().map_or(0, |(id, _)| id.0);
        let id = last.checked_add(1).map(GroupId);
        let id = id.ok_or(Refusal::Invalid("there are too many groups"))?;
        let record = GroupRecord {
            name: name.into(),
            configuration: FIRST_CONFIGURATION,
            founders: members.clone(),
            members,
        };
        self.set_group(id, record);
        Ok(id)
    }

    /// Notes who takes part in a group, unless something later is known.
    pub fn set_members(
        &mut self,
        group: GroupId,
        configuration: u32,
        members: &[Member],
    ) -> Result<(), Refusal> {
        self.check_root()?;
        let members = sorted(members)?;
        let record = self.groups.get(&group).cloned();
        let mut record = record.ok_or(Refusal::Invalid("there is no such group"))?;
        if configuration > record.configuration {
            record.configuration = configuration;
            record.members = members;
            self.set_group(group, record);
        }
        Ok(())
    }

    /// Notes that what the cluster's file says of groups and prefixes was carried out.
    pub fn found(&mut self) -> Result<(), Refusal> {
        self.check_root()?;
        self.set_founded();
        Ok(())
    }

    fn check_root(&self) -> Result<(), Refusal> {
        if self.group == ROOT {
            Ok(())
        } else {
            Err(Refusal::Invalid("only the root group knows the groups"))
        }
    }
}

fn sorted(members: &[Member]) -> Result<Vec<Member>, Refusal> {
    let mut sorted = members.to_vec();
    sorted.sort_unstable();
    let is_double = sorted.windows(2).any(|pair| pair[0].node == pair[1].node);
    if sorted.is_empty() || sorted.len() > MAX_MEMBERS || is_double {
        return Err(Refusal::Invalid(
            "a group has 1 to 16 members, each of them another node",
        ));
    }
    Ok(sorted)
}
