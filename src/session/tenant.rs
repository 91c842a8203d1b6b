//! Tenants, as sessions know them: by a name of two bytes, so that a session takes no more memory for it, and whether it
//! is the tenant's that is asked for is one comparison of a request's.

use std::sync::{PoisonError, RwLock};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name of whoever comes by a host that is no tenant's.
pub const DEFAULT_TENANT: &str = "default";

/// A tenant's name. The numbers are this process's own; what leaves it has the name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(u16);

/// The names that have been given numbers, from 1 on: as many as there were tenants in the configurations since the start,
/// and in the sessions that were restored then. None is ever forgotten, since a session may have it; there is room for
/// 65535.
static NAMES: RwLock<Vec<&'static str>> = RwLock::new(Vec::new());

impl TenantId {
    /// Who comes by a host that is no tenant's.
    pub const DEFAULT: Self = Self(0);

    /// The number of a name; `None` when there have been more names than there are numbers.
    pub fn of(name: &str) -> Option<Self> {
        if name == DEFAULT_TENANT {
            return Some(Self::DEFAULT);
        }
        let find = |names: &[&str]| names.iter().position(|known| *known == name);
        let known = find(&NAMES.read().unwrap_or_else(PoisonError::into_inner));
        let place = known.unwrap_or_else(|| {
            let mut names = NAMES.write().unwrap_or_else(PoisonError::into_inner);
            find(&names).unwrap_or_else(|| {
                if names.len() < usize::from(u16::MAX) {
                    names.push(Box::leak(name.into()));
                }
                names.len() - 1
            })
        });
        let id = Self(u16::try_from(place + 1).ok()?);
        (id.name() == name).then_some(id)
    }

    /// The number of a name that has one already: for what somebody asks for, which is not to take up numbers.
    pub fn find(name: &str) -> Option<Self> {
        if name == DEFAULT_TENANT {
            return Some(Self::DEFAULT);
        }
        let names = NAMES.read().unwrap_or_else(PoisonError::into_inner);
        let place = names.iter().position(|known| *known == name)?;
        u16::try_from(place + 1).ok().map(Self)
    }

    /// The name.
    pub fn name(self) -> &'static str {
        let names = NAMES.read().unwrap_or_else(PoisonError::into_inner);
        let place = usize::from(self.0).checked_sub(1);
        place.and_then(|place| names.get(place).copied()).unwrap_or(DEFAULT_TENANT)
    }

    /// The name, where it is worth telling: not that of the tenant that every gateway has.
    pub fn told(self) -> Option<&'static str> {
        (self != Self::DEFAULT).then(|| self.name())
    }

    /// What makes keys of this tenant others than those of another, where both are counted in one place; nought for the
    /// default tenant.
    pub const fn salt(self) -> u64 {
        // An odd number, so that no two tenants have the same.
        (self.0 as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl Serialize for TenantId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for TenantId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = <&str>::deserialize(deserializer)?;
        Self::of(name).ok_or_else(|| D::Error::custom("more tenants than there are numbers for"))
    }
}

/// What each tenant has of something, looked up by the tenant. One that is not configured any more has what the default
/// tenant has: its sessions open nothing, and end by somebody's limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ByTenant<T> {
    default: T,
    /// By the tenant's number.
    others: Vec<(TenantId, T)>,
}

impl<T> ByTenant<T> {
    /// What the default tenant has, and what the others do.
    pub fn new(default: T, others: impl IntoIterator<Item = (TenantId, T)>) -> Self {
        let mut others: Vec<(TenantId, T)> = others.into_iter().collect();
        others.sort_by_key(|(tenant, _)| *tenant);
        Self { default, others }
    }

    /// What a tenant has.
    pub fn of(&self, tenant: TenantId) -> &T {
        if tenant == TenantId::DEFAULT {
            return &self.default;
        }
        let place = self.others.binary_search_by_key(&tenant, |(tenant, _)| *tenant);
        place.ok().and_then(|place| self.others.get(place)).map_or(&self.default, |(_, own)| own)
    }

    /// What any of them has.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.default).chain(self.others.iter().map(|(_, own)| own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_number_and_comes_back() {
        let (acme, globex) = (TenantId::of("acme").expect("room"), TenantId::of("globex").expect("room"));
        assert!(acme != globex && acme != TenantId::DEFAULT && acme.salt() != globex.salt());
        assert_eq!((TenantId::of("acme"), acme.name(), acme.told()), (Some(acme), "acme", Some("acme")));
        assert_eq!(TenantId::of("default"), Some(TenantId::DEFAULT));
        assert_eq!(TenantId::find("acme"), Some(acme));
        assert_eq!((TenantId::find("default"), TenantId::find("nobody")), (Some(TenantId::DEFAULT), None));
        assert_eq!((TenantId::DEFAULT.name(), TenantId::DEFAULT.told()), ("default", None));
        let bytes = postcard::to_allocvec(&acme).expect("bytes");
        assert_eq!(bytes, b"\x04acme", "the name is what leaves the process");
        assert_eq!(postcard::from_bytes(&bytes), Ok(acme));
    }

    #[test]
    fn each_has_its_own_and_one_that_is_gone_the_defaults() {
        let (one, two) = (TenantId::of("one").expect("room"), TenantId::of("two").expect("room"));
        let has = ByTenant::new(0, [(two, 2), (one, 1)]);
        let gone = TenantId::of("gone").expect("room");
        assert_eq!([TenantId::DEFAULT, one, two, gone].map(|tenant| *has.of(tenant)), [0, 1, 2, 0]);
        assert_eq!(has.all().sum::<i32>(), 3);
    }
}
